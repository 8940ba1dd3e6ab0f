// Pre-training is worth something: features of a trained encoder against those of an untrained one.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/apps/programs.h"

namespace {

using namespace gradus::test;
namespace fs = std::filesystem;

/// Top-1 of a linear classifier on cached features of 2,000 synthetic images; chance is 0.1, and
/// the standard error 0.01.
double linear_accuracy(const fs::path& results, const Arguments& encoder) {
  const CommandResult result =
      run_linear_eval(encoder + Arguments{"--dataset", "synthetic", "--limit", "1000",
                                          "--test-limit", "2000", "--cached", "--lr", "0.1",
                                          "--momentum", "0.9", "--json", results.string()});
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  return nlohmann::json::parse(read_text(results)).at("linear").at("top1");
}

}  // namespace

TEST_CASE("pre-training beats the untrained encoder in linear evaluation") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  const CommandResult trained =
      run_train({"--dataset", "synthetic", "--limit", "512", "--batch-size", "32", "--epochs", "8",
                 "--width", "8", "--projector", "128,128", "--lr", "0.005", "--schedule", "cosine",
                 "--out", out.string()});
  INFO("output: ", trained.output);
  REQUIRE(trained.exit_code == 0);
  const double before = linear_accuracy(folder / "before.json", {"--untrained", "--width", "8"});
  const double after =
      linear_accuracy(folder / "after.json", {(out / "checkpoint.safetensors").string()});
  MESSAGE("linear accuracy: untrained ", before, ", trained ", after);
  CHECK(after > before + 0.06);
}
