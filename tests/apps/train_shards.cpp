// Batches in parts, as threads of one process.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tests/apps/programs.h"
#include "tests/support/near.h"
#include "vicreg/metrics.h"

using namespace gradus::test;
namespace fs = std::filesystem;

TEST_CASE("shards see the whole batch: the loss is the one of a single shard") {
  const TempFolder folder;
  const Arguments run{"--steps", "3", "--optimizer", "sgd", "--lr", "0.05"};
  train_whole(folder / "one", run);
  const auto expected = gradus::vicreg::read_metrics(folder / "one" / "metrics.jsonl");
  for (const char* shards : {"2", "4"}) {
    const fs::path out = folder / shards;
    train_whole(out, run + Arguments{"--shards", shards});
    const auto metrics = gradus::vicreg::read_metrics(out / "metrics.jsonl");
    REQUIRE(metrics.steps.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) {  // rounding grows from step to step
      CAPTURE(i);
      CHECK(metrics.steps[i].images == 8);
      CHECK(metrics.steps[i].loss.total == near(expected.steps[i].loss.total, 2e-3));
    }
    const auto &first = metrics.steps[0].loss, &whole = expected.steps[0].loss;
    CHECK(std::abs(first.total - whole.total) < 1e-6 * whole.total);
    CHECK(std::abs(first.covariance - whole.covariance) < 1e-5 * whole.covariance);
    REQUIRE(metrics.epochs.size() == 1);
    CHECK(std::abs(metrics.epochs[0].health.std_mean - expected.epochs[0].health.std_mean) < 1e-2);
  }
}

TEST_CASE("with shards, too, threads and workers change no byte, and a resumed run is the whole") {
  const TempFolder folder;
  const Arguments run{"--shards", "4", "--steps", "4"};
  const std::string expected = train_whole(folder / "a", run);
  CHECK(train_whole(folder / "b", run + Arguments{"--threads", "8"}) == expected);
  CHECK(train_whole(folder / "c", run + Arguments{"--workers", "0"}) == expected);
  CHECK(train_whole(folder / "d", run + Arguments{"--checkpoint-activations"}) == expected);
  train_whole(folder / "e", {"--shards", "4", "--steps", "2"});
  CHECK(train_whole(folder / "e", run + Arguments{"--resume"}) == expected);
  check_refused(train_tiny(folder / "e", {"--shards", "2", "--steps", "5", "--resume"}),
                {"shards = 4", "2"});
}

TEST_CASE("shards that a batch has not are told") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  check_refused(train_tiny(out, {"--shards", "3"}), {"--shards must be 1, 2, 4, 8", "3"});
  check_refused(train_tiny(out, {"--shards", "16"}), {"--batch-size 8", "16"});
  check_refused(train_tiny(out, {"--shards", "4", "--keep-last", "--limit", "18"}),
                {"last batch of an epoch has 2 images"});
  // A loss that is not finite is told once, with the images of the whole batch.
  const CommandResult result =
      train_tiny(out, {"--shards", "4", "--lr", "1e30", "--steps", "9", "--optimizer", "sgd"});
  check_refused(result, {"the loss is", "images of the batch: "});
  const std::string line = lines_of(result.output).back();
  const std::string images = line.substr(line.find("images of the batch: ") + 21);
  CHECK(std::count(images.begin(), images.end(), ' ') == 7);
}
