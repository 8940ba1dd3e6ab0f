// The example programs (apps/examples), as a user runs them.
#include <doctest/doctest.h>

#include <string>

#include <gradus/tensor/io/safetensors.h>
#include "tests/support/command.h"
#include "tests/support/files.h"
#include "tests/support/temp_folder.h"

using namespace gradus;
using namespace gradus::test;

namespace {

std::string example(const std::string& name) { return file_path("apps/examples/" + name); }

/// What an example prints.
std::string output_of(const std::string& name, const CommandOptions& options = {}) {
  const CommandResult result = run_command(example(name), {}, options);
  CAPTURE(result.output);
  REQUIRE(result.exit_code == 0);
  return result.output;
}

/// The number behind `label` in an example's output.
double number_behind(const std::string& label, const std::string& output) {
  CAPTURE(output);
  const std::size_t place = output.find(label);
  REQUIRE(place != std::string::npos);
  return std::stod(output.substr(place + label.size()));
}

}  // namespace

TEST_CASE("the examples of autograd, an MLP and a new op do what they show") {
  CHECK(output_of("autograd")
            .starts_with("f(x) = 8.85362 float32 [] on cpu\n"
                         "df/dx = [-4.71828,       -1,  3.86466] float32 [3] on cpu\n"
                         "least at x = [0.351734, 0.351734, 0.351734] float32 [3] on cpu, where "
                         "f(x) = 2.4815"));
  CHECK(number_behind("accuracy ", output_of("mlp")) > 0.98);
  CHECK(contains(output_of("new_op"), "gradient check: passed"));
}

TEST_CASE("the example of a convolutional network learns, and writes its weights") {
  const TempFolder folder;
  const std::string output = output_of("cnn", {.folder = folder.path()});
  CHECK(number_behind("accuracy ", output) > 0.4);  // guessing gives 0.1
  CHECK(read_safetensors(folder / "cnn.safetensors").tensors.size() == 9);
  const CommandResult refused =
      run_command(example("cnn"), {"/no/such"}, {.folder = folder.path()});
  CHECK(refused.exit_code == 1);
  CHECK(refused.output == "[cifar10] no such folder: /no/such\n");
}
