// metrics.jsonl: the record of a run, one JSON object a line.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <vector>

#include "vicreg/embedding_health.h"
#include "vicreg/loss_terms.h"

namespace gradus::vicreg {

/// One training step. In the file:
///   {"step":1,"epoch":1,"lr":0.0002,"loss":31.6,"invariance":0.4,"variance":0.8,"covariance":1.6,
///    "images":256,"images_per_second":512.0,"data_wait_seconds":0.001,"data_wait_share":0.002,
///    "probe_train":0.41}
/// and, with the loss coding-rate, "similarity":0.9,"coding_rate":150.2 for its terms.
/// A number that is not finite is null in the file and NaN here.
struct StepRecord {
  std::int64_t step = 0;   ///< steps done, this one included: 1 for the first
  std::int64_t epoch = 0;  ///< 1 for the first
  double learning_rate = 0;
  LossTerms loss{};
  std::int64_t images = 0;  ///< of the batch, each in all its views
  double images_per_second = 0;
  double data_wait_seconds = 0;  ///< time that the step waited for its batch
  double data_wait_share = 0;    ///< of the step's time, in [0, 1]
  /// The online probe's accuracy on the batch's views, before the step, in [0, 1]; absent without
  /// one.
  std::optional<double> probe_train = std::nullopt;
};

/// The embeddings' health after an epoch (embedding_health.h). In the file:
///   {"step":195,"epoch":1,"embeddings":512,"std_mean":0.98,"std_min":0.7,"effective_rank":312.5}
struct EpochRecord {
  std::int64_t step = 0;        ///< steps done when it was measured
  std::int64_t epoch = 0;       ///< epochs done
  std::int64_t embeddings = 0;  ///< how many were measured
  EmbeddingHealth health{};
};

/// What the test images show after an epoch, in [0, 1]; absent when not measured. In the file:
///   {"step":195,"epoch":1,"knn_accuracy":0.61,"probe_test":0.58}
struct AccuracyRecord {
  std::int64_t step = 0;   ///< steps done when it was measured
  std::int64_t epoch = 0;  ///< epochs done
  std::optional<double> knn_accuracy = std::nullopt;
  std::optional<double> probe_test = std::nullopt;  ///< the online probe's
};

/// A record as the file holds it.
nlohmann::ordered_json to_json(const StepRecord& record);
nlohmann::ordered_json to_json(const EpochRecord& record);
nlohmann::ordered_json to_json(const AccuracyRecord& record);

/// The records of a file, in its order.
struct Metrics {
  std::vector<StepRecord> steps;
  std::vector<EpochRecord> epochs;
  std::vector<AccuracyRecord> accuracies;
};

/// Appends to the file; each line is flushed as it is written. The records stay in memory, too.
class MetricsWriter {
 public:
  /// Opens `path` for a run that goes on after `resumed_step` steps (0: a new run). Records of
  /// later steps, and a last line that a killed process left half-written, are taken out first.
  explicit MetricsWriter(const std::filesystem::path& path, std::int64_t resumed_step = 0);

  /// Appends a line; throws Error if the disk does not take it.
  void write(const StepRecord& record);
  void write(const EpochRecord& record);
  void write(const AccuracyRecord& record);
  /// Waits until all lines are on the disk; throws Error if that fails.
  void sync();
  /// The records of the file, those from before it was opened included.
  const Metrics& records() const { return records_; }

 private:
  void write_line(const std::string& line);

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::filesystem::path path_;
  Metrics records_;
  std::unique_ptr<std::FILE, Close> file_;
};

/// Reads a file, or throws Error; lines that are not records (a half-written one) are passed over.
Metrics read_metrics(const std::filesystem::path& path);

}  // namespace gradus::vicreg
