// Times whole VICReg training steps on random images: forward, loss, backward, Adam (ResNet-18 for
// 32x32, projector 1024x4), or the encoder's evaluation alone, on the CPU or on a GPU: step --help.
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <vector>

#include <gradus/autograd/variable.h>
#include <gradus/tensor/random.h>
#include <gradus/tensor/system.h>
#include "bench/parallel_time.h"
#include "bench/timing.h"
#include "common/command_line.h"
#include "common/compute.h"
#include "common/program.h"
#include "tensor/backend/runtime.h"
#include "vicreg/recipes.h"
#include "vicreg/train_step.h"

namespace {

using namespace gradus;

struct Options {
  vicreg::TrainOptions train = vicreg::recipe_defaults(vicreg::Recipe::standard);
  int steps = 6;
  bool eager = false, forward = false, json = false;

  std::int64_t views_a_step() const { return (forward ? 1 : train.views.count) * train.batch_size; }
};

/// Of the steps timed.
struct Times {
  std::vector<double> seconds;         ///< of each
  double cpu_seconds = 0;              ///< of all threads in all of them
  std::optional<double> parallel;      ///< seconds in parallel regions, if known
  std::uint64_t last_allocations = 0;  ///< blocks taken from the system in the last one

  double sum() const { return std::accumulate(seconds.begin(), seconds.end(), 0.0); }
  double least() const { return *std::min_element(seconds.begin(), seconds.end()); }
  /// Of the time, the part in which no parallel region ran.
  std::optional<double> serial_share() const {
    if (!parallel) return {};
    return 1 - *parallel / sum();
  }
};

/// What is timed: a training step on random images, or the encoder's evaluation of them.
class Work {
 public:
  Work(const Options& options, Device device)
      : forward_only_(options.forward),
        lr_(options.train.lr),
        model_(options.train.model, generator_),
        optimizer_(vicreg::make_optimizer(options.train, model_.parameters())),
        step_(options.train, model_, *optimizer_, device, !options.eager),
        evaluation_(options.eager ? Device::cpu : device, [this] { evaluate(); }) {
    model_.to(device);
    nn::use_winograd(model_, options.train.compute.winograd);
    model_.encoder.checkpoint_activations(options.train.checkpoint_activations);
    model_.train(!forward_only_);
    const auto side = options.train.views.size;
    images_ = normal({options.views_a_step(), side, side, 3}, 0, 1, generator_).to(device);
    if (forward_only_) images_ = images_.to(options.train.compute.activation_dtype());
  }

  void run() { forward_only_ ? evaluation_.run() : step_.run(images_, lr_); }

  double loss() const { return step_.to_terms(step_.loss()).total; }
  std::size_t saved_for_backward() const { return step_.saved_for_backward(); }
  bool replays() const { return forward_only_ ? evaluation_.replays() : step_.replays(); }
  const std::string& capture_failure() const {
    return forward_only_ ? evaluation_.failure() : step_.capture_failure();
  }

 private:
  void evaluate() {
    const NoGrad no_grad;
    model_.encoder(Variable(images_));
  }

  bool forward_only_;
  double lr_;
  Generator generator_{0};
  nn::VICRegModel model_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  vicreg::TrainStep step_;
  Tensor images_;
  RepeatedWork evaluation_;
};

Times time_steps(Work& work, int steps, Device device) {
  Times times;
  std::clock_t cpu_begin = 0;
  double parallel_begin = 0;
  const int warm_up = device == Device::cuda ? 4 : 1;  // a GPU's step is captured in the third
  for (int i = 0; i < warm_up + steps; ++i) {
    if (i == warm_up) {
      if (device == Device::cuda) cuda::start_profiler();
      cpu_begin = std::clock();
      parallel_begin = bench::parallel_seconds().value_or(0);
    }
    const std::uint64_t allocations = memory_stats(device).system_allocations;
    const auto begin = std::chrono::steady_clock::now();
    work.run();
    synchronize(device);
    times.seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    times.last_allocations = memory_stats(device).system_allocations - allocations;
  }
  times.cpu_seconds = static_cast<double>(std::clock() - cpu_begin) / CLOCKS_PER_SEC;
  if (const auto parallel = bench::parallel_seconds()) times.parallel = *parallel - parallel_begin;
  times.seconds.erase(times.seconds.begin(), times.seconds.begin() + warm_up);
  return times;
}

/// What compare.py reads.
void print_json(const Times& times, const MemoryStats& memory, const Work& work) {
  nlohmann::ordered_json json{
      {"seconds", bench::median(times.seconds)},
      {"least_seconds", times.least()},
      {"busy_threads", times.cpu_seconds / times.sum()},  // the mean number of threads at work
      {"peak_resident", peak_resident_memory()},
      {"peak_tensors", memory.peak_in_use},
      {"reserved", memory.reserved},  // taken from the system or the driver, kept ones included
      {"saved_for_backward", work.saved_for_backward()}};
  if (const auto share = times.serial_share()) json["serial_share"] = *share;
  json["replayed"] = work.replays();
  if (!work.capture_failure().empty()) json["capture_failure"] = work.capture_failure();
  fmt::print("{}\n", json.dump());
}

void print_figures(const Options& options, Device device, const Times& times,
                   const MemoryStats& memory, const Work& work) {
  const auto mebibytes = [](auto bytes) { return static_cast<double>(bytes) / 0x1p20; };
  fmt::print(
      "batch {}, {}, {}: median {} {:.4f} s (least {:.4f}: {:.0f} views/s), peak of tensors {:.0f} "
      "MiB (saved for backward {:.0f}), peak resident {:.0f} MiB",
      options.train.batch_size, apps::device_text(device),
      apps::precision_text(options.train.compute, device), options.forward ? "evaluation" : "step",
      bench::median(times.seconds), times.least(),
      static_cast<double>(options.views_a_step()) / times.least(), mebibytes(memory.peak_in_use),
      mebibytes(work.saved_for_backward()), mebibytes(peak_resident_memory()));
  if (!options.forward) fmt::print(", loss {:.4f}", work.loss());
  if (device == Device::cpu) {
    if (const auto share = times.serial_share())
      fmt::print(", {:.1f} % outside parallel regions", 100 * *share);
    fmt::print(", {} blocks taken from the system in the last step", times.last_allocations);
  } else {
    fmt::print(", {}", work.replays() ? "replayed as a graph" : "kernel by kernel");
  }
  fmt::print("{}{}\n", work.capture_failure().empty() ? "" : ": ", work.capture_failure());
}

void run(const Options& options) {
  const Device device = apps::use(options.train.compute);
  Work work(options, device);
  const Times times = time_steps(work, options.steps, device);
  const MemoryStats memory = memory_stats(device);
  if (options.json) {
    print_json(times, memory, work);
  } else {
    print_figures(options, device, times, memory, work);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  apps::CommandLine app("Times training steps on random images.", "step");
  vicreg::TrainOptions& train = options.train;
  train.batch_size = 64;
  train.views.size = 32;
  train.compute.device = apps::DeviceName::cpu;
  apps::add_integer(app, "batch", train.batch_size, "Images a step, each in all its views", 2,
                    1 << 16);
  apps::add_integer(app, "steps", options.steps, "Steps timed, after the first ones", 1, 100000);
  apps::add_integer(app, "--views", train.views.count, "Views of each image", 2, 64);
  apps::add_integer(app, "--view-size", train.views.size, "Pixels a side of a view", 1, 4096);
  apps::add_compute_options(app, train.compute);
  app.add_flag("--forward", options.forward,
               "The encoder in evaluation mode, without a graph, on one view of each image");
  app.add_flag("--json", options.json, "The figures as JSON");
  app.add_flag("--checkpoint-activations", train.checkpoint_activations,
               "Residual blocks keep their input only and compute their inside again");
  app.add_flag("--eager", options.eager, "On a GPU, without capturing the step as a graph");
  return apps::run_program(app, argc, argv, [&] { run(options); });
}
