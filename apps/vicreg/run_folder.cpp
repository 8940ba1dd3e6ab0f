// A trainer and its run folder: what a run starts from, and what it leaves for the next.
#include <gradus/tensor/io/file.h>
#include "common/program.h"
#include "vicreg/checkpoint.h"
#include "vicreg/pytorch_checkpoint.h"
#include "vicreg/run_report.h"
#include "vicreg/same_run.h"
#include "vicreg/trainer.h"
#include "vicreg/weights.h"

namespace gradus::vicreg {
namespace {

/// Removes a file of the run folder, if it is there.
void discard(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return;
  std::filesystem::remove(path, error);
  check(!error, "train", "cannot remove {}: {}", path.string(), error.message());
}

}  // namespace

void Trainer::check_run_folder() const {
  const bool has_checkpoint = std::filesystem::exists(file(checkpoint_name));
  check(
      options_.resume || options_.overwrite || !has_checkpoint, "train",
      "{} already has a checkpoint; go on with --resume, start elsewhere with --out, or discard it "
      "with --overwrite",
      folder_.string());
}

void Trainer::open_run_folder() {
  if (!is_first()) return;
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  check(!error, "train", "cannot make the run folder {}: {}", folder_.string(), error.message());
  lock_ = std::make_unique<RunLock>(folder_);
  check_run_folder();
  if (options_.export_file.empty()) return;
  apps::check_output_file("train", "--export", options_.export_file);
  for (const auto& input : {file(checkpoint_name).string(), options_.init, options_.continue_from})
    if (!input.empty()) apps::check_not_input("train", "--export", options_.export_file, input);
}

bool Trainer::goes_on() const {
  const bool has_checkpoint = is_first() && std::filesystem::exists(file(checkpoint_name));
  return options_.resume && largest_of_members(communicator_, has_checkpoint) != 0;
}

bool Trainer::starts_from_file() const {
  return !options_.init.empty() || !options_.continue_from.empty();
}

void Trainer::restore() {
  std::int64_t epochs_before = 0;
  communicator_.first_then_others([&] {
    if (resumes_) {
      step_ = load_checkpoint(file(checkpoint_name), model_, *optimizer_, options_, probe_.get());
      saved_step_ = step_;
    } else if (!options_.continue_from.empty()) {
      epochs_before = load_pytorch_checkpoint(options_.continue_from, model_, *optimizer_);
      step_ = epochs_before * steps_per_epoch_;
    } else if (!options_.init.empty()) {
      load_weights(options_.init, model_);
    }
  });
  if (!is_first()) return;
  if (resumes_) {
    apps::print("resumed {} at step {}\n", file(checkpoint_name).string(), step_);
    return;
  }
  if (options_.resume) apps::print("no checkpoint in {}: a new run\n", folder_.string());
  if (!options_.continue_from.empty())
    apps::print("continued {} after epoch {}\n", options_.continue_from, epochs_before);
}

void Trainer::settle_run_folder() {
  // In an order in which a kill leaves nothing that --resume would take for another run's: records
  // go before the checkpoint that they belong to.
  if (!resumes_ && is_first()) {
    for (const char* name : {metrics_name, report_name, results_name}) discard(file(name));
    remove_event_files(folder_);
  }
  // Until a checkpoint holds what the file gave, --resume would start from other weights.
  if (!resumes_ && starts_from_file()) save();
  if (!is_first()) return;
  // A call that makes no step (--steps 0 --export) leaves what the file says of the run's length.
  if (!resumes_ || options_.steps < 0 || options_.steps > step_)
    write_file_atomically(file(config_name), config_);
  if (saved_step_ < 0) discard(file(checkpoint_name));
}

void Trainer::save() {
  if (saved_step_ == step_) return;
  if (metrics_) metrics_->sync();
  if (is_first())
    save_checkpoint(file(checkpoint_name), model_, *optimizer_, step_, options_, probe_.get());
  saved_step_ = step_;
}

}  // namespace gradus::vicreg
