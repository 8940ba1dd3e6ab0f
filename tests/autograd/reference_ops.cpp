// Every op case against PyTorch's values and gradients (tests/reference/generate_ops.py).
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <set>

#include "tests/support/compare.h"
#include "tests/support/op_cases.h"
#include "tests/support/reference.h"

namespace gradus::test {
namespace {

const TensorFile& reference() {
  static const TensorFile file = read_reference("ops.safetensors");
  return file;
}

/// The tensors that a case has in the file: its output and the gradient of each input.
std::vector<std::string> names_of(const OpCase& op_case) {
  std::vector<std::string> names = {op_case.name + "/output"};
  for (std::size_t i = 0; i < op_case.inputs.size(); ++i) {
    names.push_back(fmt::format("{}/dinput{}", op_case.name, i));
  }
  return names;
}

void compare(DType dtype, double tolerance) {
  for (const OpCase& op_case : op_cases()) {
    const OpResult result = run_case(op_case, dtype);
    const std::vector<std::string> names = names_of(op_case);
    for (std::size_t i = 0; i < names.size(); ++i) {
      CAPTURE(names[i]);
      const auto expected = reference().tensors.find(names[i]);
      REQUIRE(expected != reference().tensors.end());
      const Tensor& actual = i == 0 ? result.output : result.gradients[i - 1];
      CHECK(relative_error(actual, expected->second) < tolerance);
    }
  }
}

TEST_CASE("table and reference file hold the same cases") {
  std::set<std::string> in_table;
  for (const OpCase& op_case : op_cases()) {
    for (const std::string& name : names_of(op_case)) in_table.insert(name);
  }
  std::set<std::string> in_file;
  for (const auto& [name, tensor] : reference().tensors) in_file.insert(name);
  for (const std::string& name : in_table) CHECK_MESSAGE(in_file.contains(name), "no " << name);
  for (const std::string& name : in_file) CHECK_MESSAGE(in_table.contains(name), "stale " << name);
}

TEST_CASE("float64 agrees with PyTorch") { compare(DType::float64, 4e-14); }

TEST_CASE("float32 agrees with PyTorch") { compare(DType::float32, 3e-5); }

}  // namespace
}  // namespace gradus::test
