// The benchmarks run and report what compare.py reads; how fast they are is not tested.
#include <doctest/doctest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "bench/peaks.h"
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

TEST_CASE("bench: step reports times, memory and the serial share") {
  for (const Arguments& precision : {Arguments{}, Arguments{"--bf16"}}) {
    const json step = figures_of("step", Arguments{"2", "1", "--threads", "2"} + precision);
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
  for (const json& operation : ops.at("operations")) CHECK(is_positive(operation.at("of_peak")));
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
