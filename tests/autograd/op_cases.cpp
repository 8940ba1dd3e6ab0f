// The table of op cases, by which all ops are checked, leaves no op out.
#include <doctest/doctest.h>

#include <regex>
#include <set>
#include <string>

#include "tests/support/command.h"
#include "tests/support/files.h"
#include "tests/support/op_cases.h"
#include "tests/support/temp_folder.h"

namespace gradus::test {
namespace {

/// The functions that a header declares, "operator" for all operators: what stands between the
/// result's type and an opening bracket, at the beginning of a line.
std::set<std::string> declared_functions(const std::string& header) {
  const std::regex declaration(R"(^(?:inline )?[A-Z]\w+(?:<\w+>)? (operator|\w+)\S*\()");
  std::set<std::string> names;
  for (const std::string& line : lines_of(read_text(file_path(header)))) {
    std::smatch match;
    if (std::regex_search(line, match, declaration)) names.insert(match[1]);
  }
  return names;
}

}  // namespace

TEST_CASE("every function of autograd's ops has a case: NAME.what, or operator.what") {
  std::set<std::string> tried;
  for (const OpCase& op_case : op_cases())
    tried.insert(op_case.name.substr(0, op_case.name.find('.')));
  for (const std::string header : {"autograd/ops.h", "autograd/ops_fused.h"}) {
    CAPTURE(header);
    const std::set<std::string> declared = declared_functions(header);
    CHECK(declared.size() >= 2);
    for (const std::string& name : declared)
      CHECK_MESSAGE(tried.contains(name), "no op case (tests/support/op_cases) tries " << name);
  }
}

}  // namespace gradus::test
