// Times whole VICReg training steps on random images: forward, loss, backward, Adam (ResNet-18 for
// 32x32, projector 1024x4), or the encoder's evaluation alone, on the CPU or on a GPU: step --help.
#include <omp.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <vector>

#include <gradus/autograd/ops.h>
#include <gradus/nn/vicreg_loss.h>
#include <gradus/nn/vicreg_model.h>
#include <gradus/optim/adam.h>
#include <gradus/tensor/repeated_work.h>
#include "bench/parallel_time.h"
#include "bench/timing.h"
#include "common/command_line.h"
#include "common/program.h"
#include "tensor/backend/runtime.h"

namespace {

using namespace gradus;

struct Options {
  std::int64_t batch = 64;
  int steps = 6;
  int threads = 0;
  int winograd = 4;
  std::string device = "cpu";
  std::int64_t l2_bytes = 0;
  bool bf16 = false, tf32 = false, eager = false, forward = false, json = false;
  bool checkpoint_activations = false;
};

/// The most memory that the process has had in use, in bytes (Linux counts KiB).
std::int64_t peak_resident() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{usage.ru_maxrss} * 1024;
}

/// Of the steps timed.
struct Times {
  std::vector<double> seconds;     ///< of each
  double cpu_seconds = 0;          ///< of all threads in all of them
  std::optional<double> parallel;  ///< seconds in parallel regions, if known

  double sum() const { return std::accumulate(seconds.begin(), seconds.end(), 0.0); }
  double least() const { return *std::min_element(seconds.begin(), seconds.end()); }
  /// Of the time, the part in which no parallel region ran.
  std::optional<double> serial_share() const {
    if (!parallel) return {};
    return 1 - *parallel / sum();
  }
};

/// What compare.py reads.
nlohmann::ordered_json to_json(const Times& times, const MemoryStats& memory, std::size_t saved,
                               const RepeatedWork& work) {
  nlohmann::ordered_json json{
      {"seconds", bench::median(times.seconds)},
      {"least_seconds", times.least()},
      {"busy_threads", times.cpu_seconds / times.sum()},  // the mean number of threads at work
      {"peak_resident", peak_resident()},
      {"peak_tensors", memory.peak_in_use},
      {"reserved", memory.reserved},  // taken from the system or the driver, kept ones included
      {"saved_for_backward", saved}};
  if (const auto share = times.serial_share()) json["serial_share"] = *share;
  json["replayed"] = work.replays();
  if (!work.failure().empty()) json["capture_failure"] = work.failure();
  return json;
}

void print_figures(const Options& options, const Times& times, const MemoryStats& memory,
                   std::size_t saved, double loss) {
  const auto mebibytes = [](auto bytes) { return static_cast<double>(bytes) / 0x1p20; };
  fmt::print(
      "batch {}, {}{}: median {} {:.4f} s (least {:.4f}), peak of tensors {:.0f} MiB (saved for "
      "backward {:.0f}), peak resident {:.0f} MiB",
      options.batch,
      options.device == "cpu" ? fmt::format("{} threads", omp_get_max_threads())
                              : cuda_device_description(),
      options.bf16   ? ", bf16"
      : options.tf32 ? ", TF32"
                     : ", fp32",
      options.forward ? "evaluation" : "step", bench::median(times.seconds), times.least(),
      mebibytes(memory.peak_in_use), mebibytes(saved), mebibytes(peak_resident()));
  if (!options.forward) fmt::print(", loss {:.4f}", loss);
}

void run(const Options& options) {
  const Device device = options.device == "cuda" ? Device::cuda : Device::cpu;
  check(device == Device::cpu || cuda_available(), "step", "{}", cuda_unavailable_reason());
  if (options.threads > 0) omp_set_num_threads(options.threads);
  allow_tf32(options.tf32);
  if (options.l2_bytes > 0) cuda::assume_l2_bytes(static_cast<std::size_t>(options.l2_bytes));
  use_winograd(options.winograd);
  Generator generator(0);
  nn::VICRegModel model({.projector_widths = {1024, 1024, 1024, 1024}}, generator);
  model.to(device);
  model.encoder.checkpoint_activations(options.checkpoint_activations);
  optim::Adam adam(optim::one_group(model.parameters(), 1e-6), {});
  const std::int64_t views = options.forward ? 1 : 2;
  const Variable images(normal({views * options.batch, 32, 32, 3}, 0, 1, generator)
                            .to(options.bf16 ? DType::bfloat16 : DType::float32)
                            .to(device));
  Tensor last_loss = zeros({}, {DType::float32, device});
  std::size_t saved = 0;  // bytes that the forward pass keeps for backward
  const auto train = [&] {
    adam.zero_grad();  // first: the memory of the gradients serves the activations
    const std::size_t before = memory_stats(device).in_use;
    const Variable z = cast(model(images), DType::float32);
    const auto loss = nn::vicreg_loss(z, 2);
    saved = memory_stats(device).in_use - before;
    loss.total.backward();
    adam.apply(loss.total.value());
    last_loss.copy_from(loss.total.value());
  };
  const auto evaluate = [&] {
    const NoGrad no_grad;
    model.encoder(images);
  };
  model.train(!options.forward);
  RepeatedWork work(options.eager ? Device::cpu : device,
                    options.forward ? std::function<void()>(evaluate) : train);
  Times times;
  std::clock_t cpu_begin = 0;
  double parallel_begin = 0;
  std::uint64_t allocations_before_last = 0;
  const int warm_up = device == Device::cuda ? 4 : 1;  // a GPU's step is captured in the third
  for (int i = 0; i < warm_up + options.steps; ++i) {
    if (i == warm_up) {
      if (device == Device::cuda) cuda::start_profiler();
      cpu_begin = std::clock();
      parallel_begin = bench::parallel_seconds().value_or(0);
    }
    allocations_before_last = memory_stats(device).system_allocations;
    const auto begin = std::chrono::steady_clock::now();
    if (!options.forward) adam.prepare(2e-4);
    work.run();
    synchronize(device);
    times.seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  times.cpu_seconds = static_cast<double>(std::clock() - cpu_begin) / CLOCKS_PER_SEC;
  if (const auto parallel = bench::parallel_seconds()) times.parallel = *parallel - parallel_begin;
  times.seconds.erase(times.seconds.begin(), times.seconds.begin() + warm_up);
  const MemoryStats memory = memory_stats(device);
  if (options.json) {
    fmt::print("{}\n", to_json(times, memory, saved, work).dump());
    return;
  }
  print_figures(options, times, memory, saved, last_loss.item<float>());
  if (device == Device::cpu) {
    if (const auto share = times.serial_share())
      fmt::print(", {:.1f} % outside parallel regions", 100 * *share);
    fmt::print(", {} blocks taken from the system in the last step",
               memory.system_allocations - allocations_before_last);
  }
  if (device == Device::cuda)
    fmt::print(", {}", work.replays() ? "replayed as a graph" : "kernel by kernel");
  fmt::print("{}{}\n", work.failure().empty() ? "" : ": ", work.failure());
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  apps::CommandLine app("Times training steps on random images.", "step");
  app.add_option("batch", options.batch, "Images a step (each in two views)")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 16))
      ->capture_default_str();
  app.add_option("steps", options.steps, "Steps timed, after the first ones")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("threads", options.threads, "Threads; 0: all cores")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  app.add_option("--device", options.device, "cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  app.add_option("--winograd", options.winograd, "Tiles of 4 or 2 outputs a side; 0: plain sums")
      ->check(CLI::IsMember({4, 2, 0}))
      ->capture_default_str();
  app.add_option("--l2-bytes", options.l2_bytes,
                 "On a GPU, size the scratch of convolutions for a second-level cache of N bytes "
                 "(0: the GPU's own)")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40))
      ->capture_default_str();
  app.add_flag("--bf16", options.bf16, "Mixed precision with bfloat16");
  app.add_flag("--tf32", options.tf32, "TF32 products");
  app.add_flag("--forward", options.forward,
               "The encoder in evaluation mode, without a graph, on one view of each image");
  app.add_flag("--json", options.json, "The figures as JSON");
  app.add_flag("--checkpoint-activations", options.checkpoint_activations,
               "Residual blocks keep their input only and compute their inside again");
  app.add_flag("--eager", options.eager, "On a GPU, without capturing the step as a graph");
  return apps::run_program("step", [&] {
    if (apps::parse_command_line(app, argc, argv)) run(options);
    return 0;
  });
}
