#include "vicreg/trainer.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include <gradus/autograd/variable.h>
#include <gradus/nn/conv2d.h>
#include <gradus/nn/fused.h>
#include <gradus/nn/losses.h>
#include <gradus/tensor/device.h>
#include "common/program.h"
#include "vicreg/datasets.h"
#include "vicreg/embedding_health.h"
#include "vicreg/features.h"
#include "vicreg/knn.h"
#include "vicreg/recipes.h"
#include "vicreg/run_report.h"
#include "vicreg/same_run.h"
#include "vicreg/weights.h"

namespace gradus::vicreg {

data::Loader::Options loader_options(const TrainOptions& options, Device device) {
  return {.batch_size = options.batch_size,
          .views = options.views.count,
          .shuffle = options.shuffle,
          .drop_last = options.drop_last,
          .workers = options.workers,
          .seed = options.seed,
          .device = device,
          .augment = augment_options(options.views)};
}

Trainer::Trainer(const TrainOptions& options, std::string config, Device device,
                 Communicator& communicator, std::shared_future<data::Dataset> training_set)
    : options_(options),
      config_(std::move(config)),
      device_(device),
      communicator_(communicator),
      shards_(communicator.size() > 1 ? &communicator : nullptr),
      folder_(options.out),
      generator_(options.seed),
      model_(options.model, generator_),
      optimizer_(make_optimizer(options, model_.parameters())),
      training_set_(std::move(training_set)) {
  model_.to(device);
  nn::use_winograd(model_, options.compute.winograd);
  model_.encoder.checkpoint_activations(options.checkpoint_activations);
}

std::int64_t Trainer::shown_epoch() const {
  return std::min(step_ / steps_per_epoch_, options_.epochs - 1);
}

std::int64_t Trainer::total_steps() const {
  const std::int64_t all = options_.epochs * steps_per_epoch_;
  return options_.steps < 0 ? all : std::min(options_.steps, all);
}

std::int64_t Trainer::steps_left() const {
  return std::max<std::int64_t>(total_steps() - step_, 0);
}

void Trainer::load_data() {
  dataset_ = training_set_.get();
  options_.images = {.count = dataset_.size(), .normalization = dataset_.normalization};
  const std::int64_t rest = dataset_.size() % options_.batch_size;
  check(
      options_.drop_last || rest != 1, "train",
      "the last batch of an epoch would have one image, and statistics over a batch need two; use "
      "--drop-last or another --batch-size");
  const int members_here = options_.shards / (communicator_.process_of(options_.shards - 1) + 1);
  data::Loader::Options batches = loader_options(options_, device_);
  batches.workers = (batches.workers + members_here - 1) / members_here;
  batches.parts = communicator_.size();
  batches.part = communicator_.rank();
  loader_ = std::make_unique<data::Loader>(dataset_, batches);
  steps_per_epoch_ = loader_->batches_per_epoch();
  check(!options_.probe || dataset_.is_labelled(), "train", "--probe needs images with labels");
  if (is_first()) load_test_set();
  if (!options_.probe) return;
  probe_ = std::make_unique<OnlineProbe>(
      model_.encoder.feature_count(), static_cast<std::int64_t>(dataset_.class_names.size()),
      options_.views.count * options_.batch_size, options_.seed, device_);
}

void Trainer::load_test_set() {
  if (options_.knn_every == 0 && !options_.probe) return;
  if (!dataset_.is_labelled()) {
    apps::print("kNN is off: the images to train on have no labels\n");
    return;
  }
  DataOptions data = options_.data;
  if (!options_.probe)
    data.test_limit =
        data.test_limit > 0 ? std::min(data.test_limit, options_.knn_images) : options_.knn_images;
  test_set_ = vicreg::load_test_set(data, dataset_.normalization);
}

int Trainer::run() {
  open_run_folder();
  resumes_ = goes_on();
  // Without steps only the weights are wanted. But the initial ones of a probe depend on the
  // images' classes, and how many steps a PyTorch program's epochs had depends on their number.
  if (options_.steps != 0 || (!resumes_ && (options_.probe || !options_.continue_from.empty())))
    communicator_.first_then_others([&] { load_data(); });
  restore();
  if (options_.steps != 0) {
    if (shards_ != nullptr)
      check_same(communicator_, run_identity(options_, device_, dataset_, model_, step_));
    schedule_ = make_schedule(options_, steps_per_epoch_);
  }
  settle_run_folder();
  if (options_.steps != 0) {
    train_step_ = std::make_unique<TrainStep>(options_, model_, *optimizer_, device_,
                                              /*replay=*/true, probe_.get(), shards_);
    Progress progress(
        {.total_steps = total_steps(), .steps_per_epoch = steps_per_epoch_, .first_step = step_});
    if (is_first()) {
      const std::int64_t kept = resumes_ ? step_ : 0;  // steps whose records lie in the folder
      metrics_ = std::make_unique<MetricsWriter>(file(metrics_name), kept);
      if (options_.tensorboard) tensorboard_ = std::make_unique<TensorBoard>(folder_, kept);
      apps::print("{}\n", describe(options_.data, dataset_));
      apps::print("{} steps an epoch, {} steps in all; {} parameters; {}\n", steps_per_epoch_,
                  total_steps(), model_.parameter_count(), apps::device_text(device_));
      if (steps_left() == 0) apps::print("no steps are left: {} were made before\n", step_);
      write_report(progress);
    }
    if (communicator_.leads_process()) interrupts_.emplace();
    train_to(total_steps(), progress);
    progress.finish();
    if (is_first()) {
      if (const std::string& reason = train_step_->capture_failure(); !reason.empty())
        apps::print("steps were started kernel by kernel, not as a graph: {}\n", reason);
      write_report(progress);
    }
  }
  save();
  if (signal_ != 0 && step_ < total_steps()) {
    if (is_first()) apps::print("interrupted: saved after step {}; go on with --resume\n", step_);
    return 128 + signal_;
  }
  if (!is_first()) return 0;
  if (!options_.export_file.empty()) export_weights(options_.export_file, model_, options_);
  apps::print("{} after step {}\n", file(checkpoint_name).string(), step_);
  return 0;
}

int Trainer::agreed_signal() {
  const int own = interrupts_ ? interrupts_->signal() : 0;
  return static_cast<int>(largest_of_members(communicator_, own));
}

void Trainer::train_to(std::int64_t last_step, Progress& progress) {
  // On a GPU the loss of a step is read while the next one runs.
  const std::size_t steps_ahead = device_ == Device::cpu ? 0 : 1;
  if (step_ < last_step) loader_->start_epoch(step_ / steps_per_epoch_, step_ % steps_per_epoch_);
  evaluate_epoch(progress);  // of a run that was killed in it
  while (step_ < last_step && (signal_ = agreed_signal()) == 0) {
    start_step();
    const bool epoch_ends = step_ % steps_per_epoch_ == 0;
    const std::int64_t every =
        options_.checkpoint_every > 0 ? options_.checkpoint_every : steps_per_epoch_;
    const bool save_now = step_ % every == 0 || step_ == last_step;
    while (pending_.size() > (epoch_ends || save_now ? 0 : steps_ahead)) finish_step(progress);
    // The checkpoint holds no epoch whose record is missing, and does not wait for what takes time.
    if (epoch_ends) measure_epoch(progress);
    if (save_now) save();
    if (epoch_ends) end_epoch(progress);
  }
  while (!pending_.empty()) finish_step(progress);
  save();
}

void Trainer::start_step() {
  const double begin = seconds_now();
  const double waited_before = loader_->seconds_waited();
  auto batch = loader_->next();
  if (!batch) {
    loader_->start_epoch(step_ / steps_per_epoch_);
    batch = loader_->next();
  }
  const double lr = schedule_(step_);
  train_step_->run(batch->images, lr, batch->labels);
  pending_.push_back({.record = {.step = step_ + 1,
                                 .epoch = step_ / steps_per_epoch_ + 1,
                                 .learning_rate = lr,
                                 .images = batch->size() * communicator_.size(),
                                 .data_wait_seconds = loader_->seconds_waited() - waited_before},
                      .loss = train_step_->loss(),
                      .predicted = probe_ ? Readback(probe_->predicted()) : Readback(),
                      .labels = batch->labels,
                      .begin = begin});
  ++step_;
}

void Trainer::finish_step(Progress& progress) {
  PendingStep pending = std::move(pending_.front());
  pending_.pop_front();
  StepRecord& record = pending.record;
  record.loss = train_step_->to_terms(pending.loss);
  if (!std::isfinite(record.loss.total)) fail_not_finite(record);
  if (!is_first()) return;
  const double end = pending_.empty() ? seconds_now() : pending_.front().begin;
  record.images_per_second = static_cast<double>(record.images) / (end - pending.begin);
  record.data_wait_share = record.data_wait_seconds / (end - pending.begin);
  if (probe_)
    record.probe_train =
        share_correct(pending.predicted.get(), pending.labels, options_.views.count);
  write(record, progress);
  progress.update(record);
}

void Trainer::fail_not_finite(const StepRecord& record) {
  const std::int64_t step = record.step - 1;  // from 0
  loader_->start_epoch(step / steps_per_epoch_, step % steps_per_epoch_);
  const data::Batch batch = *loader_->next();
  // In plain sums a value that is not finite stays where it is, and none comes from an algorithm's
  // intermediate results.
  nn::use_winograd(model_, false);
  std::string culprit = first_not_finite(batch.images);
  nn::use_winograd(model_, options_.compute.winograd);
  if (culprit.empty()) {
    culprit = first_not_finite(batch.images);
    culprit = culprit.empty()
                  ? "the loss itself"
                  : culprit + ", though not with plain sums, which --no-winograd asks for";
  }
  const std::string kept = saved_step_ < 0
                               ? "no checkpoint was written yet"
                               : fmt::format("the last good checkpoint is {}, after step {}",
                                             file(checkpoint_name).string(), saved_step_);
  const auto samples = communicator_.all_gather(batch.samples).to_vector<std::int64_t>();
  if (!is_first()) communicator_.barrier();  // which the first one's error ends
  fail("train",
       "step {} (epoch {}): the loss is {}; the first output that is not finite is that of {}; {}; "
       "a lower --lr or --clip-norm may help; images of the batch: {}",
       record.step, record.epoch, record.loss.total, culprit, kept, fmt::join(samples, " "));
}

std::string Trainer::first_not_finite(const Tensor& images) {
  std::string first;
  const NoGrad no_grad;
  const nn::NoFusion layer_by_layer;
  const nn::ForwardObserver observer([&](const std::string& path, const Tensor& output) {
    if (first.empty() && largest_of_members(communicator_, !all_finite(output)) != 0) first = path;
  });
  train_step_->embed(images);
  return first;
}

void Trainer::measure_epoch(Progress& progress) {
  const Tensor z = compared_embeddings(train_step_->embeddings()).to(Device::cpu);
  if (!is_first()) return;
  const EmbeddingHealth health = measure(z);
  const std::int64_t epoch = step_ / steps_per_epoch_;
  write(EpochRecord{.step = step_, .epoch = epoch, .embeddings = z.size(0), .health = health},
        progress);
  progress.message(
      fmt::format("epoch {}: embedding std {:.3f} (least {:.3f}), effective rank {:.1f}", epoch,
                  health.std_mean, health.std_min, health.effective_rank));
  if (const auto warning = collapse_warning(health, z.size(0), z.size(1), options_.loss))
    progress.message("warning: " + *warning);
  to_tensorboard(progress, [&] {
    tensorboard_->write(model_.parameters(), step_);
    const PictureSheet views = view_sheet(dataset_, options_, shown_epoch());
    tensorboard_->write_image("views", views.png(), step_);
  });
}

void Trainer::evaluate_epoch(Progress& progress) {
  if (!is_first() || !test_set_) return;
  const auto is_known = [&](const auto& records) {
    return !records.empty() && records.back().step == step_;
  };
  const std::int64_t epoch = step_ / steps_per_epoch_;
  const bool compares = options_.knn_every > 0 && epoch % options_.knn_every == 0;
  const Metrics& known = metrics_->records();
  if (!(compares || probe_) || !is_known(known.epochs) || is_known(known.accuracies)) return;
  AccuracyRecord record{.step = step_, .epoch = epoch};
  const Tensor features =
      extract_features(model_.encoder, *test_set_, options_.compute.activation_dtype());
  if (compares) record.knn_accuracy = knn_accuracy(features);
  if (probe_) record.probe_test = probe_->accuracy(features, test_set_->labels);
  write(record, progress);
  const auto percent = [](const char* name, std::optional<double> accuracy) {
    return accuracy ? fmt::format(" {} {:.2f} %", name, 100 * *accuracy) : "";
  };
  progress.message(fmt::format("epoch {}:{}{}", epoch, percent("kNN", record.knn_accuracy),
                               percent("probe", record.probe_test)));
}

void Trainer::end_epoch(Progress& progress) {
  if (!is_first()) return;
  evaluate_epoch(progress);
  write_report(progress);
}

template <class Record>
void Trainer::write(const Record& record, Progress& progress) {
  metrics_->write(record);
  to_tensorboard(progress, [&] { tensorboard_->write(to_json(record)); });
}

void Trainer::to_tensorboard(Progress& progress, const std::function<void()>& write) {
  if (!tensorboard_) return;
  try {
    write();
  } catch (const Error& error) {
    tensorboard_.reset();
    progress.message(fmt::format("warning: no more events: {}; training goes on", error.what()));
  }
}

Tensor Trainer::compared_embeddings(const Tensor& all) const {
  Tensor two = all.slice(0, 2 * all.size(0) / options_.views.count);
  if (shards_ != nullptr) {
    const std::int64_t part = two.size(0) / 2, d = two.size(1);
    two =
        permute(communicator_.all_gather(two.reshape({2, part, d})), {1, 0, 2, 3}).reshape({-1, d});
  }
  if (options_.loss == LossName::vicreg) return two;
  return affine(unit_rows(two), std::sqrt(static_cast<double>(two.size(1))), 0);
}

double Trainer::knn_accuracy(const Tensor& test_features) {
  const std::int64_t count = std::min(options_.knn_images, test_set_->size());
  const data::Dataset train = dataset_.take(options_.knn_images);
  const Tensor features =
      extract_features(model_.encoder, train, options_.compute.activation_dtype());
  const Tensor scores = knn_scores(features, train.labels, test_features.slice(0, count),
                                   static_cast<std::int64_t>(train.class_names.size()));
  return static_cast<double>(nn::count_top_k(scores, test_set_->labels.slice(0, count))) /
         static_cast<double>(count);
}

void Trainer::write_report(Progress& progress) {
  try {
    nlohmann::json run = describe_run(folder_, config_, options_, metrics_->records());
    run["training"] = {{"machine", describe_machine(device_)},
                       {"classes", dataset_.class_names.size()},
                       {"pictures", training_pictures(dataset_, options_, shown_epoch())}};
    write_run_report(folder_, std::move(run));
  } catch (const Error& error) {
    if (std::exchange(report_failed_, true)) return;
    progress.message(fmt::format("warning: no report: {}; training goes on", error.what()));
  }
}

}  // namespace gradus::vicreg
