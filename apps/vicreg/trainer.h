// The training run: steps, checkpoints, metrics and pictures.
#pragma once

#include <deque>
#include <filesystem>
#include <memory>
#include <optional>

#include <gradus/data/loader.h>
#include <gradus/nn/vicreg_model.h>
#include <gradus/optim/optimizer.h>
#include <gradus/optim/schedule.h>
#include <gradus/tensor/communicator.h>
#include "vicreg/interrupt.h"
#include "vicreg/metrics.h"
#include "vicreg/options.h"
#include "vicreg/progress.h"
#include "vicreg/run_lock.h"
#include "vicreg/train_step.h"

namespace gradus::vicreg {

/// Pre-trains as the options say, in the run folder options.out:
///   checkpoint.safetensors  weights, optimiser, position (checkpoint.h)
///   metrics.jsonl           a line a step, and one an epoch (metrics.h)
///   config.toml             the resolved configuration
///   augmentations.png, curves.svg
/// Another process cannot train in the folder meanwhile (run_lock.h).
///
/// The step with number s (from 0) sees batch s mod steps_per_epoch of epoch s / steps_per_epoch,
/// so a run is a function of the options and the number of steps, wherever it was interrupted.
///
/// With options.shards S > 1 there are S trainers, the members of a group. Each has a model of its
/// own and computes its part of each batch; statistics, loss and gradients are joined
/// (tensor/comm/README.md), so that all models stay the same. Member 0 alone writes and prints.
class Trainer {
 public:
  /// The group must have options.shards members.
  Trainer(const TrainOptions& options, std::string config, Device device,
          Communicator& communicator);

  /// Trains to the end, or until an interrupt; returns the exit code: 0, or 128 + signal.
  int run();

 private:
  bool is_first() const { return communicator_.rank() == 0; }
  void open_run_folder();
  void load_data();
  /// The signal by which the user has interrupted one of the processes, or 0.
  int signal();
  /// Starts steps until that one, or until the user interrupts.
  void train_to(std::int64_t last_step, Progress& progress);
  /// Fetches the next batch and starts the update with it; its loss is read by finish_step.
  void start_step();
  /// Waits for the loss of the oldest step under way and records it; stops the run if it is not
  /// finite.
  void finish_step(Progress& progress);
  [[noreturn]] void fail_not_finite(const StepRecord& record);
  /// The path of the first module whose output is not finite, in any part of the batch, or "".
  std::string first_not_finite(const Tensor& images);
  void end_epoch(Progress& progress);
  /// The embeddings [2 B, D] of two views of the last batch, whose health is measured: as the loss
  /// sees them. Those that only their direction counts of have length sqrt(D), so that a std near 1
  /// is healthy with either loss.
  Tensor compared_embeddings() const;
  std::optional<double> knn_accuracy();
  void draw_augmentations();
  void save();

  std::int64_t total_steps() const;
  std::filesystem::path file(const char* name) const { return folder_ / name; }

  /// A step that was started, and what will be recorded of it.
  struct PendingStep {
    StepRecord record;
    Readback loss;
    std::int64_t images;
    double begin;  ///< when its batch was asked for, in seconds
  };

  TrainOptions options_;
  std::string config_;
  Device device_;
  Communicator& communicator_;
  Communicator* shards_;  ///< the same, or null where this trainer has the whole batch
  std::filesystem::path folder_;
  std::unique_ptr<RunLock> lock_;
  Generator generator_;
  nn::VICRegModel model_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  data::Dataset dataset_;
  std::optional<data::Dataset> test_set_;  ///< read when kNN first asks for it
  std::unique_ptr<data::Loader> loader_;
  std::unique_ptr<MetricsWriter> metrics_;    ///< of member 0
  std::optional<InterruptGuard> interrupts_;  ///< one a process
  std::int64_t steps_per_epoch_ = 1;
  optim::Schedule schedule_;
  std::unique_ptr<TrainStep> train_step_;
  std::deque<PendingStep> pending_;
  std::int64_t step_ = 0;  ///< steps started
  std::int64_t saved_step_ = -1;
  int signal_ = 0;
};

}  // namespace gradus::vicreg
