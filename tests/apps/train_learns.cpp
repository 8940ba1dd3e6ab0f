// Pre-training is worth something: features of a trained encoder against those of an untrained one.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/apps/programs.h"

namespace {

using namespace gradus::test;
namespace fs = std::filesystem;

/// Top-1 of a linear classifier on cached features of synthetic images.
double linear_accuracy(const fs::path& results, const Arguments& encoder) {
  const CommandResult result =
      run_linear_eval(encoder + Arguments{"--dataset", "synthetic", "--limit", "2000",
                                          "--test-limit", "2000", "--cached", "--lr", "0.1",
                                          "--momentum", "0.9", "--json", results.string()});
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  return nlohmann::json::parse(read_text(results)).at("linear").at("top1");
}

}  // namespace

TEST_CASE("pre-training beats the untrained encoder in linear evaluation" *
          doctest::test_suite("long")) {
  const TempFolder folder;
  const fs::path out = folder / "run";
  const CommandResult trained =
      run_train({"--dataset", "synthetic", "--limit", "2048", "--batch-size", "128", "--epochs",
                 "10", "--width", "16", "--projector", "256,256", "--lr", "0.002", "--schedule",
                 "cosine", "--out", out.string()},
                {.timeout_seconds = 3600});
  INFO("output: ", trained.output);
  REQUIRE(trained.exit_code == 0);
  const double before = linear_accuracy(folder / "before.json", {"--untrained", "--width", "16"});
  const double after =
      linear_accuracy(folder / "after.json", {(out / "checkpoint.safetensors").string()});
  MESSAGE("linear accuracy: untrained ", before, ", trained ", after);
  CHECK(after > before + 0.05);
}
