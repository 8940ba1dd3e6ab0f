#include "vicreg/metrics.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "tests/support/command.h"
#include "tests/support/errors.h"
#include "tests/support/temp_folder.h"

using namespace gradus::vicreg;
using gradus::test::contains;
using gradus::test::error_of;
using gradus::test::read_text;
using gradus::test::TempFolder;
using gradus::test::write_text;

namespace {

StepRecord step_record(std::int64_t step) {
  return {.step = step,
          .epoch = (step - 1) / 3 + 1,
          .learning_rate = 2e-4,
          .loss = {.total = 30.0 / static_cast<double>(step),
                   .invariance = 0.1,
                   .variance = 0.2,
                   .covariance = 0.3},
          .images = 256,
          .images_per_second = 512,
          .data_wait_seconds = 0.001,
          .data_wait_share = 0.25};
}

EpochRecord epoch_record(std::int64_t epoch) {
  return {.step = epoch * 3,
          .epoch = epoch,
          .embeddings = 512,
          .health = {.std_mean = 0.9, .std_min = 0.5, .effective_rank = 12}};
}

/// Steps 1..6 and epochs 1 and 2 of three steps.
void write_run(const std::filesystem::path& path) {
  MetricsWriter writer(path);
  for (std::int64_t step = 1; step <= 6; ++step) {
    writer.write(step_record(step));
    if (step % 3 == 0) writer.write(epoch_record(step / 3));
  }
}

/// The same records in the same order.
bool same(const Metrics& a, const Metrics& b) {
  const auto numbers_of = [](const Metrics& m) {
    std::vector<double> numbers;
    for (const StepRecord& r : m.steps) {
      numbers.insert(numbers.end(),
                     {double(r.step), double(r.epoch), r.learning_rate, double(r.images),
                      r.images_per_second, r.data_wait_seconds, r.data_wait_share});
      for (const LossTerm& term : loss_terms(r.loss.name)) numbers.push_back(r.loss.*term.value);
    }
    for (const EpochRecord& r : m.epochs) {
      numbers.insert(numbers.end(), {double(r.step), double(r.epoch), double(r.embeddings),
                                     r.health.std_mean, r.health.std_min, r.health.effective_rank});
    }
    return numbers;
  };
  return a.steps.size() == b.steps.size() && numbers_of(a) == numbers_of(b);
}

}  // namespace

TEST_CASE("metrics: a line a step, as documented") {
  const TempFolder folder;
  MetricsWriter writer(folder / "metrics.jsonl");
  writer.write(step_record(1));
  CHECK(read_text(folder / "metrics.jsonl") ==
        "{\"step\":1,\"epoch\":1,\"lr\":0.0002,\"loss\":30.0,\"invariance\":0.1,\"variance\":0.2,"
        "\"covariance\":0.3,\"images\":256,\"images_per_second\":512.0,\"data_wait_seconds\":0.001,"
        "\"data_wait_share\":0.25}\n");
}

TEST_CASE("metrics: the terms of the loss that is trained") {
  const TempFolder folder;
  StepRecord record = step_record(1);
  record.loss = {
      .name = LossName::coding_rate, .total = -30, .similarity = 0.5, .coding_rate = 130};
  MetricsWriter(folder / "m").write(record);
  CHECK(contains(read_text(folder / "m"),
                 "\"loss\":-30.0,\"similarity\":0.5,\"coding_rate\":130.0,\"images\""));
  const Metrics metrics = read_metrics(folder / "m");
  REQUIRE(metrics.steps.size() == 1);
  CHECK(metrics.steps[0].loss.name == LossName::coding_rate);
  CHECK(metrics.steps[0].loss.total == -30);
  CHECK(metrics.steps[0].loss.similarity == 0.5);
  CHECK(metrics.steps[0].loss.coding_rate == 130);
}

TEST_CASE("metrics: an accuracy is there when it was measured") {
  const TempFolder folder;
  MetricsWriter writer(folder / "m");
  writer.write(epoch_record(1));
  writer.write(AccuracyRecord{.step = 3, .epoch = 1, .knn_accuracy = 0.625});
  CHECK(read_text(folder / "m") ==
        "{\"step\":3,\"epoch\":1,\"embeddings\":512,\"std_mean\":0.9,\"std_min\":0.5,"
        "\"effective_rank\":12.0}\n"
        "{\"step\":3,\"epoch\":1,\"knn_accuracy\":0.625}\n");
  for (const Metrics& metrics : {read_metrics(folder / "m"), writer.records()}) {
    REQUIRE(metrics.epochs.size() == 1);
    CHECK(metrics.epochs[0].embeddings == 512);
    REQUIRE(metrics.accuracies.size() == 1);
    CHECK(metrics.accuracies[0].step == 3);
    CHECK(metrics.accuracies[0].epoch == 1);
    CHECK(metrics.accuracies[0].knn_accuracy == 0.625);
    CHECK(!metrics.accuracies[0].probe_test.has_value());
  }
}

TEST_CASE("metrics: an accuracy may stand on the epoch's own line") {
  const TempFolder folder;
  write_text(folder / "m", R"({"step":3,"epoch":1,"std_mean":0.9,"knn_accuracy":0.5})"
                           "\n");
  const Metrics metrics = read_metrics(folder / "m");
  REQUIRE(metrics.epochs.size() == 1);
  CHECK(metrics.epochs[0].health.std_mean == 0.9);
  REQUIRE(metrics.accuracies.size() == 1);
  CHECK(metrics.accuracies[0].step == 3);
  CHECK(metrics.accuracies[0].knn_accuracy == 0.5);
}

TEST_CASE("metrics: what is written is read back exactly") {
  const TempFolder folder;
  StepRecord record = step_record(1);
  record.loss.total = 0.1 + 0.2;
  record.learning_rate = 1e-300;
  MetricsWriter(folder / "m").write(record);
  const Metrics metrics = read_metrics(folder / "m");
  REQUIRE(metrics.steps.size() == 1);
  const StepRecord& read = metrics.steps[0];
  CHECK(read.step == 1);
  CHECK(read.epoch == 1);
  for (const LossTerm& term : loss_terms(LossName::vicreg)) {
    CAPTURE(term.key);
    CHECK(read.loss.*term.value == record.loss.*term.value);
  }
  CHECK(read.learning_rate == record.learning_rate);
  CHECK(read.images_per_second == record.images_per_second);
  CHECK(read.data_wait_seconds == record.data_wait_seconds);
  CHECK(read.data_wait_share == record.data_wait_share);
}

TEST_CASE("metrics: NaN and infinity still give valid JSON") {
  const TempFolder folder;
  StepRecord record = step_record(1);
  record.loss.total = std::numeric_limits<double>::quiet_NaN();
  record.loss.variance = std::numeric_limits<double>::infinity();
  MetricsWriter(folder / "m").write(record);
  const auto json = nlohmann::json::parse(read_text(folder / "m"));
  CHECK(json["loss"].is_null());
  CHECK(json["variance"].is_null());
  const Metrics metrics = read_metrics(folder / "m");
  REQUIRE(metrics.steps.size() == 1);
  CHECK(std::isnan(metrics.steps[0].loss.total));
}

TEST_CASE("metrics: values that are no numbers count as missing") {
  const TempFolder folder;
  write_text(folder / "m", "{\"step\":1,\"epoch\":1,\"loss\":\"low\",\"images\":\"many\"}\n");
  const Metrics metrics = read_metrics(folder / "m");
  REQUIRE(metrics.steps.size() == 1);
  CHECK(std::isnan(metrics.steps[0].loss.total));
  CHECK(metrics.steps[0].images == 0);
}

TEST_CASE("metrics: a resumed run goes on as if it had never stopped") {
  const TempFolder folder;
  write_run(folder / "whole");
  for (std::int64_t resumed = 1; resumed <= 6; ++resumed) {
    write_run(folder / "m");
    {
      MetricsWriter writer(folder / "m", resumed);
      CHECK(writer.records().steps.size() == static_cast<std::size_t>(resumed));
      CHECK(writer.records().epochs.size() == static_cast<std::size_t>(resumed / 3));
      for (std::int64_t step = resumed + 1; step <= 6; ++step) {
        writer.write(step_record(step));
        if (step % 3 == 0) writer.write(epoch_record(step / 3));
      }
      CHECK(same(writer.records(), read_metrics(folder / "m")));
    }
    INFO("resumed after step ", resumed);
    CHECK(read_text(folder / "m") == read_text(folder / "whole"));
  }
}

TEST_CASE("metrics: a kill in the middle of a line does no harm") {
  const TempFolder folder;
  write_run(folder / "whole");
  const std::string whole = read_text(folder / "whole");
  const std::size_t last_line = whole.rfind('\n', whole.size() - 2) + 1;  // the record of epoch 2
  for (std::size_t size = last_line; size < whole.size(); ++size) {
    write_text(folder / "m", whole.substr(0, size));
    CHECK(read_metrics(folder / "m").epochs.size() == 1);
    MetricsWriter(folder / "m", 6).write(epoch_record(2));
    INFO("cut at ", size);
    CHECK(read_text(folder / "m") == whole);
  }
}

TEST_CASE("metrics: a new run empties the file, a resumed one may find none") {
  const TempFolder folder;
  write_run(folder / "m");
  { const MetricsWriter writer(folder / "m"); }
  CHECK(read_text(folder / "m").empty());
  MetricsWriter(folder / "new", 5).write(step_record(6));
  CHECK(read_metrics(folder / "new").steps.size() == 1);
}

TEST_CASE("metrics: lines that are not records are passed over") {
  const TempFolder folder;
  write_text(folder / "m",
             "\n[1]\nnot json\n{\"step\":\"1\",\"epoch\":1,\"loss\":2}\n{\"epoch\":1}\n"
             "{\"step\":4,\"epoch\":2,\"loss\":\"x\"}\n");
  const Metrics metrics = read_metrics(folder / "m");
  REQUIRE(metrics.steps.size() == 1);
  CHECK(metrics.steps[0].step == 4);
  CHECK(std::isnan(metrics.steps[0].loss.total));
}

TEST_CASE("metrics: files that cannot be opened") {
  const TempFolder folder;
  const std::string path = (folder / "nowhere" / "m").string();
  CHECK(error_of([&] { MetricsWriter{path}; }) ==
        "[metrics] cannot write " + path + ": No such file or directory");
  CHECK(error_of([&] { read_metrics(path); }) ==
        "[metrics] cannot read " + path + ": No such file or directory");
}

TEST_CASE("metrics: a full disk is an error") {
  // /dev/full refuses every write.
  MetricsWriter writer("/dev/full");
  CHECK(error_of([&] { writer.write(step_record(1)); }) ==
        "[metrics] cannot write /dev/full: No space left on device");
}
