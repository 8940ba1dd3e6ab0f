#include "vicreg/metrics.h"

#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include <gradus/tensor/check.h>
#include <gradus/tensor/io/file.h>

namespace gradus::vicreg {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;  // writes NaN and infinity as null

/// Calls `visit` with each whole line that is a record, and its JSON.
void for_each_record(const fs::path& path,
                     const std::function<void(const std::string&, const Json&)>& visit) {
  std::ifstream stream(path);
  check(stream.good(), "metrics", "cannot read {}: {}", path.string(), std::strerror(errno));
  std::string line;
  while (std::getline(stream, line)) {
    if (stream.eof()) break;  // no newline: the process was killed while it wrote
    const Json record = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    const auto is_integer = [&](const char* key) {
      return record.contains(key) && record[key].is_number_integer();
    };
    if (record.is_object() && is_integer("step") && is_integer("epoch")) visit(line, record);
  }
}

double number(const Json& record, const char* key) {
  const auto value = record.find(key);
  const bool is_number = value != record.end() && value->is_number();
  return is_number ? value->get<double>() : std::numeric_limits<double>::quiet_NaN();
}

/// 0 where there is none.
std::int64_t count(const Json& record, const char* key) {
  const auto value = record.find(key);
  const bool is_count = value != record.end() && value->is_number_integer();
  return is_count ? value->get<std::int64_t>() : 0;
}

StepRecord parse_step(const Json& record) {
  StepRecord step{.step = record["step"].get<std::int64_t>(),
                  .epoch = record["epoch"].get<std::int64_t>(),
                  .learning_rate = number(record, "lr"),
                  .images = count(record, "images"),
                  .images_per_second = number(record, "images_per_second"),
                  .data_wait_seconds = number(record, "data_wait_seconds"),
                  .data_wait_share = number(record, "data_wait_share")};
  step.loss.name = record.contains("coding_rate") ? LossName::coding_rate : LossName::vicreg;
  for (const LossTerm& term : loss_terms(step.loss.name))
    step.loss.*term.value = number(record, term.key);
  if (record.contains("probe_train")) step.probe_train = number(record, "probe_train");
  return step;
}

EpochRecord parse_epoch(const Json& record) {
  return {.step = record["step"].get<std::int64_t>(),
          .epoch = record["epoch"].get<std::int64_t>(),
          .embeddings = count(record, "embeddings"),
          .health = {.std_mean = number(record, "std_mean"),
                     .std_min = number(record, "std_min"),
                     .effective_rank = number(record, "effective_rank")}};
}

AccuracyRecord parse_accuracies(const Json& record) {
  AccuracyRecord accuracies{.step = record["step"].get<std::int64_t>(),
                            .epoch = record["epoch"].get<std::int64_t>()};
  if (record.contains("knn_accuracy")) accuracies.knn_accuracy = number(record, "knn_accuracy");
  if (record.contains("probe_test")) accuracies.probe_test = number(record, "probe_test");
  return accuracies;
}

void append(Metrics& metrics, const Json& record) {
  if (record.contains("loss")) {
    metrics.steps.push_back(parse_step(record));
    return;
  }
  if (record.contains("std_mean")) metrics.epochs.push_back(parse_epoch(record));
  // On the epoch's own line in older files.
  if (record.contains("knn_accuracy") || record.contains("probe_test"))
    metrics.accuracies.push_back(parse_accuracies(record));
}

/// Rewrites the file with the records up to `last_step`, and returns them.
Metrics truncate_after(const fs::path& path, std::int64_t last_step) {
  std::string kept;
  Metrics metrics;
  for_each_record(path, [&](const std::string& line, const Json& record) {
    if (record["step"].get<std::int64_t>() > last_step) return;
    kept += line + "\n";
    append(metrics, record);
  });
  write_file_atomically(path, kept);
  return metrics;
}

}  // namespace

Json to_json(const StepRecord& record) {
  Json json{{"step", record.step}, {"epoch", record.epoch}, {"lr", record.learning_rate}};
  for (const LossTerm& term : loss_terms(record.loss.name))
    json[term.key] = record.loss.*term.value;
  json["images"] = record.images;
  json["images_per_second"] = record.images_per_second;
  json["data_wait_seconds"] = record.data_wait_seconds;
  json["data_wait_share"] = record.data_wait_share;
  if (record.probe_train) json["probe_train"] = *record.probe_train;
  return json;
}

Json to_json(const EpochRecord& record) {
  return {{"step", record.step},
          {"epoch", record.epoch},
          {"embeddings", record.embeddings},
          {"std_mean", record.health.std_mean},
          {"std_min", record.health.std_min},
          {"effective_rank", record.health.effective_rank}};
}

Json to_json(const AccuracyRecord& record) {
  Json json{{"step", record.step}, {"epoch", record.epoch}};
  if (record.knn_accuracy) json["knn_accuracy"] = *record.knn_accuracy;
  if (record.probe_test) json["probe_test"] = *record.probe_test;
  return json;
}

MetricsWriter::MetricsWriter(const fs::path& path, std::int64_t resumed_step) : path_(path) {
  const bool resumes = resumed_step > 0 && fs::exists(path);
  if (resumes) records_ = truncate_after(path, resumed_step);
  file_.reset(std::fopen(path.c_str(), resumes ? "a" : "w"));
  check(file_ != nullptr, "metrics", "cannot write {}: {}", path.string(), std::strerror(errno));
}

void MetricsWriter::write(const StepRecord& record) {
  write_line(to_json(record).dump());
  records_.steps.push_back(record);
}

void MetricsWriter::write(const EpochRecord& record) {
  write_line(to_json(record).dump());
  records_.epochs.push_back(record);
}

void MetricsWriter::write(const AccuracyRecord& record) {
  write_line(to_json(record).dump());
  records_.accuracies.push_back(record);
}

void MetricsWriter::sync() {
  check(::fsync(::fileno(file_.get())) == 0, "metrics", "cannot write {}: {}", path_.string(),
        std::strerror(errno));
}

void MetricsWriter::write_line(const std::string& line) {
  const bool written =
      std::fwrite((line + "\n").data(), 1, line.size() + 1, file_.get()) == line.size() + 1 &&
      std::fflush(file_.get()) == 0;
  check(written, "metrics", "cannot write {}: {}", path_.string(), std::strerror(errno));
}

Metrics read_metrics(const fs::path& path) {
  Metrics metrics;
  for_each_record(path, [&](const std::string&, const Json& record) { append(metrics, record); });
  return metrics;
}

}  // namespace gradus::vicreg
