// The benchmarks run and report what compare.py reads; how fast they are is not tested.
#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "bench/peaks.h"
#include "bench/timing.h"
#include "tests/apps/programs.h"
#include "tests/support/device.h"

namespace {

using namespace gradus::test;
using nlohmann::json;

CommandResult run_benchmark(const std::string& name, const Arguments& arguments) {
  return run_command(file_path("apps/bench/" + name), arguments);
}

json figures_of(const std::string& name, const Arguments& arguments) {
  const CommandResult result = run_benchmark(name, arguments + Arguments{"--json"});
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  return json::parse(result.output);
}

bool is_positive(const json& figure) { return figure.get<double>() > 0; }

/// conv_ladder for the device under test.
CommandResult run_ladder(const Arguments& arguments) {
  const char* suffix = std::getenv("GRADUS_TEST_PROGRAMS");
  return run_benchmark(std::string("conv_ladder") + (suffix ? suffix : ""), arguments);
}

}  // namespace

TEST_CASE("bench: a median is the middle time and the least one the shortest") {
  CHECK(gradus::bench::median({3, 1, 2}) == 2);
  CHECK(gradus::bench::median({4, 1, 3, 2}) == 3);
  int calls = 0;
  const double least = gradus::bench::least_seconds(5, [&] {
    if (++calls == 2) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  });
  CHECK(calls == 6);  // the first one is not timed
  CHECK(least < 0.1);
}

TEST_CASE("bench: step reports times, memory and the serial share") {
  const Arguments sizes{"2", "1", "--threads", "2"};
  json step;
  for (const Arguments& precision : {Arguments{}, Arguments{"--bf16"}}) {
    step = figures_of("step", sizes + precision);
    for (const char* name : {"seconds", "least_seconds", "busy_threads"}) {
      CHECK(is_positive(step.at(name)));
    }
    CHECK(step.at("saved_for_backward") < step.at("peak_tensors"));
    CHECK(step.at("peak_tensors") < step.at("peak_resident"));
#if defined(__GNUC__) && !defined(__clang__)  // whose parallel regions it sees
    CHECK(is_positive(step.at("serial_share")));
    CHECK(step.at("serial_share") < 1);
#endif
  }
  const json checkpointed =
      figures_of("step", sizes + Arguments{"--bf16", "--checkpoint-activations"});
  CHECK(checkpointed.at("saved_for_backward") < step.at("saved_for_backward"));
  const json forward = figures_of("step", {"2", "1", "--threads", "1", "--forward"});
  CHECK(is_positive(forward.at("seconds")));
  CHECK(forward.at("saved_for_backward") == 0);
}

TEST_CASE("bench: conv times each layer's passes") {
  const CommandResult result =
      run_benchmark("conv", {"--batch", "1", "--repeats", "1", "--threads", "1", "--json"});
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  const std::vector<std::string> lines = lines_of(result.output);
  CHECK(lines.size() == 11);
  for (const std::string& line : lines) {
    const json layer = json::parse(line);
    CHECK(is_positive(layer.at("forward")));
    CHECK(is_positive(layer.at("backward_weight")));
    CHECK(layer.contains("backward_input") == (layer.at("layer") != "stem 3x3"));
  }
}

TEST_CASE("bench: ladder's steps give the library's result") {  // which the program checks
  const CommandResult ladder = run_benchmark("ladder", {"--batch", "1", "--repeats", "1"});
  CAPTURE(ladder.output);
  CHECK(ladder.exit_code == 0);
  for (const char* step :
       {"the definition: six loops", "columns, and a product of three loops",
        "columns, and the library's blocked product", "windows in place, generic",
        "Winograd, generic", "with batch norm and ReLU"})
    CHECK(contains(ladder.output, step));
  CHECK(!contains(ladder.output, "error"));
}

TEST_CASE("bench: ops measures peaks, and operations against them") {
  const json ops = figures_of("ops", {"--batch", "2", "--repeats", "1", "--threads", "1"});
  for (const char* peak : {"fp32_core", "read", "triad"}) {
    CHECK(is_positive(ops.at("peaks").at(peak)));
  }
  CHECK(is_positive(ops.at("peaks").at("bf16")) == gradus::bench::has_bfloat16());
  CHECK(ops.at("operations").size() > 10);
  std::map<std::string, double> operations, bytes;
  for (const json& operation : ops.at("operations")) {
    CHECK(is_positive(operation.at("of_peak")));
    const auto name = operation.at("operation").get<std::string>();
    operations[name] = operation.at("operations").get<double>();
    bytes[name] = operation.at("bytes").get<double>();
  }
  for (const std::string pass : {"", ", dinput", ", dweight"}) {  // of four views
    CAPTURE(pass);
    CHECK(operations.at("conv 3x3 [N, 32, 32, 64]" + pass) ==
          2.0 * (4 * 32 * 32 * 64) * (3 * 3 * 64));
    CHECK(operations.at("conv 3x3 [N, 4, 4, 512]" + pass) ==
          2.0 * (4 * 4 * 4 * 512) * (3 * 3 * 512));
    CHECK(operations.at("linear 512 -> 1024" + pass) == 2.0 * (4 * 512 * 1024));
  }
  // The covariance of two embeddings, and two products of its size for each of two views.
  CHECK(operations.at("covariance z^T z, z [B, 1024]") == 2.0 * (2 * 1024 * 1024));
  CHECK(operations.at("VICReg loss and its gradients") == 2.0 * (2 * 1024 * 1024) * 2 * 2);
  CHECK(bytes.at("residual add") == 3.0 * (4 * 32 * 32 * 64) * sizeof(float));
}

TEST_CASE("bench: augment times each augmentation") {
  const CommandResult result = run_benchmark("augment", {"--seconds", "0.001"});
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  const std::vector<std::string> lines = lines_of(result.output);
  REQUIRE(lines.size() == 14);
  for (std::size_t i = 1; i < lines.size(); ++i) {  // after the head
    CAPTURE(lines[i]);
    CHECK(std::stod(lines[i].substr(20)) > 0);
  }
}

TEST_SUITE("device") {
  TEST_CASE("bench: each step of conv_ladder gives the reference's result" * gpu_only()) {
    // Tiles that end beyond the last pixel; more inputs than outputs, and the other way round.
    for (const Arguments& sizes :
         {Arguments{"--images", "1", "--size", "1", "--channels", "64", "--outputs", "64"},
          Arguments{"--images", "3", "--size", "7", "--channels", "128", "--outputs", "64"},
          Arguments{"--images", "2", "--size", "9", "--channels", "64", "--outputs", "192"}}) {
      const CommandResult result = run_ladder(sizes + Arguments{"--repeats", "1"});
      INFO("output: ", result.output);
      CHECK(result.exit_code == 0);
      for (const char* step : {"1 naive", "2 tiled", "3 vectorised", "4 tensor cores",
                               "5 pipelined", "6 fused", "the library"}) {
        CHECK(contains(result.output, step));
      }
    }
    check_refused(run_ladder({"--channels", "65"}), {"multiples of 64, not 65"});
    check_refused(run_ladder({"--images", "70000", "--size", "4"}), {"too many"});
  }
}

TEST_CASE("bench: impossible options are refused") {
  const auto check = [](const std::string& name, const Arguments& arguments,
                        const std::string& part) {
    const CommandResult result = run_benchmark(name, arguments);
    check_refused(result, {part});
    CHECK(lines_of(result.output).size() == 1);
    CHECK(result.output.starts_with(name + ": error: "));
  };
  for (const char* name : {"step", "conv", "ops", "augment"}) {
    check(name, {"--no-such-option"}, "--no-such-option");
  }
  check("step", {"1"}, "not an integer from 2 to 65536");
  check("conv", {"--batch", "0"}, "not an integer from 1 to 65536");
  check("augment", {"--seconds", "-1"}, "not in range");
}

TEST_CASE("bench: --help shows the options with their defaults") {
  for (const auto& [name, option] : {std::pair{"step", "=64"}, std::pair{"conv", "=128"},
                                     std::pair{"ops", "=10"}, std::pair{"augment", "=1\n"}}) {
    CAPTURE(name);
    const CommandResult help = run_benchmark(name, {"--help"});
    CHECK(help.exit_code == 0);
    CHECK(contains(help.output, option));
  }
}

#if defined(__GNUC__) && !defined(__clang__)
TEST_CASE("programs wait briefly for their threads, unless the environment says otherwise") {
  // What OpenMP was told when the program last started.
  const auto spins = [](const Arguments& environment) {
    const CommandResult result = run_command(
        "/usr/bin/env",
        Arguments{"-u", "OMP_WAIT_POLICY", "-u", "GOMP_SPINCOUNT"} + environment +
            Arguments{"OMP_DISPLAY_ENV=verbose", file_path("apps/bench/step"), "--help"});
    INFO("output: ", result.output);
    REQUIRE(result.exit_code == 0);
    std::string last;
    for (const std::string& line : lines_of(result.output)) {
      if (contains(line, "GOMP_SPINCOUNT")) last = line;
    }
    return last;
  };
  CHECK(contains(spins({}), "'1000'"));
  CHECK(contains(spins({"GOMP_SPINCOUNT=77"}), "'77'"));
  CHECK(contains(spins({"OMP_WAIT_POLICY=passive"}), "'0'"));
}
#endif
