// The training run: steps, checkpoints, metrics and the report.
#pragma once

#include <deque>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <optional>

#include <gradus/data/loader.h>
#include <gradus/nn/vicreg_model.h>
#include <gradus/optim/optimizer.h>
#include <gradus/optim/schedule.h>
#include <gradus/tensor/communicator.h>
#include "vicreg/dry_run.h"
#include "vicreg/interrupt.h"
#include "vicreg/metrics.h"
#include "vicreg/online_probe.h"
#include "vicreg/options.h"
#include "vicreg/progress.h"
#include "vicreg/run_lock.h"
#include "vicreg/tensorboard.h"
#include "vicreg/train_step.h"

namespace gradus::vicreg {

/// Pre-trains as the options say, in the run folder options.out:
///   checkpoint.safetensors  weights, optimiser, position (checkpoint.h)
///   metrics.jsonl           a line a step, and one or two an epoch (metrics.h)
///   config.toml             the resolved configuration
///   report.html             all of it on a page, with images and their views (run_report.h)
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
  /// `config` is the resolved configuration, as parse_train_options gives it. The group must have
  /// options.shards members and outlive this; those in one process share the `training_set`.
  Trainer(const TrainOptions& options, std::string config, Device device,
          Communicator& communicator, std::shared_future<data::Dataset> training_set);

  /// Trains to the end, or until an interrupt; returns the exit code: 0, or 128 + signal.
  int run();

  /// Makes a few steps, of batches as large as time and memory allow, and prints what the run will
  /// take. Writes nothing. Throws Error if memory or disk do not suffice; otherwise returns 0.
  int dry_run();

 private:
  bool is_first() const { return communicator_.rank() == 0; }
  void load_data();

  // Of the run folder (run_folder.cpp):
  /// Refuses a folder with a run of which the options do not say what becomes of it.
  void check_run_folder() const;
  void open_run_folder();
  /// Whether to go on with the folder's checkpoint: the same for all members.
  bool goes_on() const;
  /// Whether the options name a file of weights to start from.
  bool starts_from_file() const;
  /// Takes the weights that the options name: of that file, or of the run folder's checkpoint.
  void restore();
  /// Brings the run folder into the state from which --resume goes on with this run: with
  /// --overwrite nothing is left of the run before.
  void settle_run_folder();
  void save();

  /// The signal by which the user has interrupted one of the processes, or 0: the same for all
  /// members, each of which must ask.
  int agreed_signal();
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
  /// Records the health of the embeddings of the epoch that ends, and its histograms and views.
  void measure_epoch(Progress& progress);
  /// Records what the options ask to know of the test images where an epoch has ended, unless that
  /// has been done.
  void evaluate_epoch(Progress& progress);
  /// Evaluates the epoch and renews the report.
  void end_epoch(Progress& progress);
  template <class Record>
  void write(const Record& record, Progress& progress);
  /// Calls `write` where there is a TensorBoard; an Error in it ends that, not the run.
  void to_tensorboard(Progress& progress, const std::function<void()>& write);
  /// The embeddings [2 B, D] of two views of the last batch, whose health is measured: as the loss
  /// sees them. Those that only their direction counts of have length sqrt(D), so that a std near 1
  /// is healthy with either loss.
  Tensor compared_embeddings(const Tensor& all) const;
  /// The test images, where kNN or the probe asks for them.
  void load_test_set();
  /// Of the first knn_images test images, whose features are among `test_features`, by the first
  /// knn_images training images.
  double knn_accuracy(const Tensor& test_features);
  /// The epoch, from 0, whose views are shown: the one that is trained, or the last.
  std::int64_t shown_epoch() const;
  /// Renews report.html. Where it cannot be written, that is said once, and training goes on.
  void write_report(Progress& progress);

  // Of dry_run (dry_run.cpp):
  Rehearsal rehearse(std::int64_t batch_size);
  Rehearsals rehearse_up_to(std::int64_t batch_size, std::uint64_t available_memory, double begin);
  int steps_of_rehearsal() const;
  double seconds_of_features(double images);
  /// On the average over epochs.
  double seconds_of_epoch_end();
  std::uint64_t disk_needed() const;

  std::int64_t total_steps() const;
  std::int64_t steps_left() const;
  std::filesystem::path file(const char* name) const { return folder_ / name; }

  /// A step that was started, and what will be recorded of it.
  struct PendingStep {
    StepRecord record;
    Readback loss;
    Readback predicted;  ///< by the probe, if there is one
    Tensor labels;
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
  std::shared_future<data::Dataset> training_set_;
  data::Dataset dataset_;                  ///< the same, once it is loaded
  std::optional<data::Dataset> test_set_;  ///< for kNN and the probe, where they are asked for
  std::unique_ptr<data::Loader> loader_;
  std::unique_ptr<OnlineProbe> probe_;        ///< with --probe
  std::unique_ptr<MetricsWriter> metrics_;    ///< of member 0
  std::unique_ptr<TensorBoard> tensorboard_;  ///< of member 0, with --tensorboard
  std::optional<InterruptGuard> interrupts_;  ///< one a process
  std::int64_t steps_per_epoch_ = 1;
  optim::Schedule schedule_;
  std::unique_ptr<TrainStep> train_step_;
  std::deque<PendingStep> pending_;
  std::int64_t step_ = 0;  ///< steps started
  bool resumes_ = false;   ///< from the run folder's checkpoint
  std::int64_t saved_step_ = -1;
  bool report_failed_ = false;  ///< which has been said
  double epoch_seconds_ = 0;    ///< that dry_run measured, beside the steps
  int signal_ = 0;
};

/// How the loader makes batches for a run with these options.
data::Loader::Options loader_options(const TrainOptions& options, Device device);

}  // namespace gradus::vicreg
