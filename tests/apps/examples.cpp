// The example programs (apps/examples), as a user runs them.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
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

TEST_CASE("the example of a graph and a trace writes both") {
  const TempFolder folder;
  output_of("graph_and_trace", {.folder = folder.path()});
  CHECK(contains(read_text(folder / "graph.dot"), "0.weight\\n[16, 3, 3, 3]"));
  const auto trace = nlohmann::json::parse(read_text(folder / "trace.json"));
  const auto count = [&](const std::string& name) {
    const auto& events = trace.at("traceEvents");
    return std::count_if(events.begin(), events.end(),
                         [&](const auto& event) { return event.at("name") == name; });
  };
  for (const char* name : {"a training step", "0 (Conv2d)", "conv2d", "backward", "optimizer"}) {
    CAPTURE(name);
    CHECK(count(name) >= 4);  // batches
  }
  CHECK(count("batch") == 4);
}

TEST_CASE("the example of one image shows each layer twice, and the loss's terms") {
  const std::string output = output_of("one_image");
  CAPTURE(output);
  const std::size_t back = output.find("--- backward");
  REQUIRE(back != std::string::npos);
  const std::string forward = output.substr(0, back), backward = output.substr(back);
  for (const char* line :
       {"image (a view of it)     [32, 32, 3] ", "conv1                    [32, 32, 64] ",
        "layer2.0                 [16, 16, 128] ", "layer4.1                 [4, 4, 512] ",
        "projector: embedding     [256] "}) {
    CAPTURE(line);
    CHECK(contains(forward, line));
    CHECK(contains(backward, line));
  }
  CHECK(backward.find("layer4.1") < backward.find("conv1"));
  const double total = number_behind("total", output);
  CHECK(total == doctest::Approx(25 * number_behind("invariance     25 x", output) +
                                 25 * number_behind("variance       25 x",
                                                    output.substr(output.find("\nvariance"))) +
                                 number_behind("covariance      1 x", output))
                     .epsilon(1e-4));
  CHECK(!contains(output, "\x1b"));  // colours are for terminals
  CHECK(!contains(output, "nan"));
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
