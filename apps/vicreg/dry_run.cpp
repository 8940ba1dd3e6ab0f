#include "vicreg/dry_run.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <gradus/autograd/variable.h>
#include <gradus/nn/conv2d.h>
#include <gradus/nn/fused.h>
#include <gradus/nn/linear.h>
#include <gradus/tensor/io/file.h>
#include <gradus/tensor/ops.h>
#include <gradus/tensor/system.h>
#include "common/program.h"
#include "vicreg/embedding_health.h"
#include "vicreg/features.h"
#include "vicreg/recipes.h"
#include "vicreg/trainer.h"

namespace gradus::vicreg {
namespace {

namespace fs = std::filesystem;

constexpr double seconds_for_steps = 7;  // of the 10 that a dry run may take

/// Bytes that the disk of a folder, which may not be there yet, has free.
std::uint64_t free_disk(fs::path folder) {
  folder = fs::absolute(folder);
  while (!fs::exists(folder) && folder.has_parent_path() && folder != folder.parent_path())
    folder = folder.parent_path();
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  check(!error, "dry-run", "cannot look at the disk of {}: {}", folder.string(), error.message());
  return space.available;
}

/// Sizes of batches to be tried: two small ones, then up to the run's by fours.
std::vector<std::int64_t> sizes(std::int64_t batch_size) {
  std::vector<std::int64_t> result{2};
  for (const std::int64_t size :
       {std::int64_t{4}, batch_size / 64, batch_size / 16, batch_size / 4, batch_size})
    if (size > result.back() && size <= batch_size) result.push_back(size);
  return result;
}

}  // namespace

std::uint64_t multiply_adds(nn::VICRegModel& model, const Shape& image, Device device) {
  std::map<std::string, std::int64_t> factors;  // multiply-adds of an element of the output
  std::as_const(model).visit([&](const std::string& path, const nn::Module& module) {
    if (const auto* conv = dynamic_cast<const nn::Conv2d*>(&module))
      factors[path] = conv->weight.numel() / conv->options().out_channels;
    if (const auto* linear = dynamic_cast<const nn::Linear*>(&module))
      factors[path] = linear->options().in_features;
  });
  std::uint64_t count = 0;
  const NoGrad no_grad;
  const nn::NoFusion layer_by_layer;
  const EvalMode eval_mode(model);
  const nn::ForwardObserver observer([&](const std::string& path, const Tensor& output) {
    if (const auto found = factors.find(path); found != factors.end())
      count += static_cast<std::uint64_t>(output.numel() * found->second);
  });
  model(zeros(image, {DType::float32, device}));
  return count;
}

Rehearsal predict(const std::vector<Rehearsal>& done, std::int64_t batch_size) {
  const Rehearsal& last = done.back();
  if (last.batch_size == batch_size) return last;
  const Rehearsal before = done.size() > 1 ? done[done.size() - 2] : Rehearsal{0, 0, 0};
  const double along = static_cast<double>(batch_size - last.batch_size) /
                       static_cast<double>(last.batch_size - before.batch_size);
  const auto extended = [&](double from, double to) {
    return std::max(to + along * (to - from), 0.0);
  };
  return {batch_size, extended(before.seconds, last.seconds),
          static_cast<std::uint64_t>(
              extended(static_cast<double>(before.tensors), static_cast<double>(last.tensors)))};
}

std::int64_t largest_fitting_batch(const Rehearsal& least, const Rehearsal& larger, double room) {
  if (larger.batch_size <= least.batch_size) return 0;
  const double slope = (static_cast<double>(larger.tensors) - static_cast<double>(least.tensors)) /
                       static_cast<double>(larger.batch_size - least.batch_size);
  return slope > 0 ? least.batch_size + static_cast<std::int64_t>(std::floor(room / slope)) : 0;
}

std::optional<std::string> objection(const TrainOptions& o, const Supply& memory,
                                     const Supply& disk, std::int64_t fitting_batch) {
  if (!memory.suffices()) {
    std::string help = fitting_batch >= 2 ? fmt::format("--batch-size {} fits", fitting_batch)
                                          : "a smaller --batch-size alone does not help";
    if (!o.compute.bf16) help += "; --bf16 needs about half of it for activations";
    if (!o.checkpoint_activations) help += "; --checkpoint-activations needs less for more time";
    return fmt::format("the run does not fit: it needs {} of memory, and {} are there; {}",
                       format_bytes(memory.needed), format_bytes(memory.available), help);
  }
  if (!disk.suffices())
    return fmt::format(
        "the run does not fit: it needs {} of disk, and {} are free; name another disk with --out, "
        "or make space",
        format_bytes(disk.needed), format_bytes(disk.available));
  return std::nullopt;
}

int Trainer::steps_of_rehearsal() const {
  // A GPU's third step records the graph that later ones replay.
  return device_ == Device::cpu ? 2 : 6;
}

Rehearsal Trainer::rehearse(std::int64_t batch_size) {
  TrainOptions options = options_;
  options.batch_size = batch_size;
  options.drop_last = true;  // the last batch may be too small for statistics over it
  data::Loader loader(dataset_, loader_options(options, device_));
  TrainStep step(options, model_, *optimizer_, device_, /*replay=*/true, probe_.get());
  reset_peak_memory(device_);
  double seconds = 0;
  loader.start_epoch(0);
  for (std::int64_t i = 0, epoch = 0; i < steps_of_rehearsal(); ++i) {
    const double begin = seconds_now();
    auto batch = loader.next();
    if (!batch) {
      loader.start_epoch(++epoch);
      batch = loader.next();
    }
    step.run(batch->images, schedule_(0), batch->labels);
    step.loss().get();
    seconds = seconds_now() - begin;
  }
  const Tensor embeddings = compared_embeddings(step.embeddings()).to(Device::cpu);
  const double begin = seconds_now();
  measure(embeddings);
  epoch_seconds_ = seconds_now() - begin;
  return {batch_size, seconds, memory_stats(device_).peak_in_use};
}

double Trainer::seconds_of_features(double images) {
  if (images == 0) return 0;
  const data::Dataset some = dataset_.take(256);
  const double begin = seconds_now();
  extract_features(model_.encoder, some, options_.compute.activation_dtype());
  return (seconds_now() - begin) * images / static_cast<double>(some.size());
}

double Trainer::seconds_of_epoch_end() {
  if (!test_set_) return epoch_seconds_;
  // The probe sees the test images each epoch, kNN now and then, and some training images, too.
  const auto test = static_cast<double>(test_set_->size());
  const auto train = static_cast<double>(std::min(options_.knn_images, dataset_.size()));
  const double knn_share = options_.knn_every > 0 ? 1 / static_cast<double>(options_.knn_every) : 0;
  return epoch_seconds_ +
         seconds_of_features((options_.probe ? test : knn_share * test) + knn_share * train);
}

std::uint64_t Trainer::disk_needed() const {
  std::uint64_t weights = 0, checkpoint = 0;
  for (const nn::NamedTensor& entry : model_.state()) weights += entry.tensor->bytes();
  checkpoint = weights;
  for (const auto& [name, tensor] : optimizer_->state()) checkpoint += tensor.bytes();
  const auto steps = static_cast<std::uint64_t>(steps_left());
  const std::uint64_t epochs = steps / static_cast<std::uint64_t>(steps_per_epoch_);
  constexpr std::uint64_t record = 300, event_record = 600, pictures = 2 << 20, histogram = 1200;
  std::uint64_t bytes = 2 * checkpoint + steps * record + pictures;  // a new one beside the old one
  if (options_.tensorboard)
    bytes +=
        steps * event_record + epochs * (2 * model_.parameters().size() * histogram + pictures);
  return options_.export_file.empty() ? bytes : bytes + weights;
}

/// Ever larger batches, as long as memory and time suffice for the next.
Rehearsals Trainer::rehearse_up_to(std::int64_t batch_size, std::uint64_t available, double begin) {
  Rehearsals all;
  for (const std::int64_t size : sizes(batch_size)) {
    if (all.done.size() >= 2) {  // else nothing is known of what grows
      const Rehearsal next = predict(all.done, size);
      const double seconds = steps_of_rehearsal() * std::max(next.seconds, all.done.back().seconds);
      if (all.memory_of(next) > available || seconds_now() - begin + seconds > seconds_for_steps)
        continue;
    }
    all.done.push_back(rehearse(size));
    const std::uint64_t taken =
        device_ == Device::cpu ? peak_resident_memory() : memory_stats(device_).reserved;
    all.rest = taken - std::min(taken, all.done.back().tensors);
  }
  return all;
}

int Trainer::dry_run() {
  const double begin = seconds_now();
  check_run_folder();
  resumes_ = goes_on();
  load_data();
  restore();
  schedule_ = make_schedule(options_, steps_per_epoch_);
  const Size2 view =
      augment_options(options_.views).view_size({dataset_.height(), dataset_.width()});
  const std::uint64_t forward =
      multiply_adds(model_, {1, view.height, view.width, dataset_.channels()}, device_);
  const std::int64_t batch_size = std::min(options_.batch_size, dataset_.size());
  const auto images_a_step = static_cast<double>(options_.views.count * batch_size);

  const std::uint64_t available = available_memory(device_);
  const Rehearsals rehearsals = rehearse_up_to(batch_size, available, begin);
  const Rehearsal &least = rehearsals.done.front(), &largest = rehearsals.done.back();
  const Rehearsal step = predict(rehearsals.done, batch_size);
  const Supply memory{rehearsals.memory_of(step), available};
  const Supply disk{disk_needed(), free_disk(options_.out)};
  const auto steps = static_cast<double>(steps_left());
  const double epochs = steps / static_cast<double>(steps_per_epoch_);
  const double seconds = steps * step.seconds + epochs * seconds_of_epoch_end();

  apps::print("images        {}\n", describe(options_.data, dataset_));
  apps::print("device        {}\n", apps::device_text(device_));
  apps::print("parameters    {}\n", model_.parameter_count());
  apps::print("multiply-adds {:.4g} G a view forward, {:.4g} G a step (forward and backward)\n",
              static_cast<double>(forward) * 1e-9,
              3 * static_cast<double>(forward) * images_a_step * 1e-9);
  apps::print("tensors       {} at most\n", format_bytes(step.tensors));
  apps::print("{}  {} at most, of {} that are there\n",
              device_ == Device::cpu ? "resident    " : "GPU memory  ", format_bytes(memory.needed),
              format_bytes(memory.available));
  apps::print("a step        {:.3g} s{}\n", step.seconds,
              step.batch_size == largest.batch_size
                  ? ""
                  : fmt::format(" (by steps of {} images)", largest.batch_size));
  apps::print("the run       {} without its checkpoints ({} steps, {} an epoch)\n",
              duration_in_words(seconds), steps_left(), steps_per_epoch_);
  apps::print("disk          {}, of {} that are free for {}\n", format_bytes(disk.needed),
              format_bytes(disk.available), folder_.string());

  const double room =
      static_cast<double>(available) - static_cast<double>(rehearsals.memory_of(least));
  const std::int64_t fitting = largest_fitting_batch(least, step, room);
  if (const auto problem = objection(options_, memory, disk, fitting))
    fail("dry-run", "{}", *problem);
  apps::print("It fits. Nothing was written.\n");
  return 0;
}

}  // namespace gradus::vicreg
