// Where the time of a training step on a GPU goes. Counts, for each kernel of one VICReg step
// (ResNet-18 for 32x32, projector 1024x4, Adam), the bytes that it must move and the operations
// that it must do, and prints the least time that a chosen GPU needs for them, and the time that is
// to be expected: gpu_step --help. On a GPU, with --measure, the measured time stands beside it.
// With --gpus, what the step is expected to take on many GPUs (scaling.h).
//
// A kernel takes as long as the slowest of three, memory, the second-level cache and arithmetic,
// and a while to start and to end. What is reached of the peak rates was measured on an H100, where
// a step of batch 256 took 6.18 ms in bfloat16, 10.9 in TF32 and 34.7 in float32, and was expected
// to take 5.6, 9.8 and 21.9, with 54 kernels more than it has now. Not in the model: the last round
// of blocks, which leaves multiprocessors idle (the tiles of the largest layers are such that
// rounds are 97 % full); branches that fill them; loops that wait for something else, like TF32's
// gradient of the weights (1.6 ms expected, 2.2 taken); and what float32 waits for, which nobody
// has profiled.
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include <gradus/data/loader.h>
#include <gradus/tensor/check.h>
#include "bench/scaling.h"
#include "common/command_line.h"
#include "common/compute.h"
#include "common/program.h"
#include "tensor/cuda/conv/implicit_gemm.h"
#include "tensor/cuda/runtime/runtime.h"
#include "vicreg/recipes.h"
#include "vicreg/same_run.h"
#include "vicreg/train_step.h"
#if defined(GRADUS_CUDA_EMULATOR)
#include "tensor/cuda/emulator/emulator.h"
#endif

namespace {

using namespace gradus;
using cuda::ProfileEntry;
using cuda::Unit;

/// Peak rates: the makers' figures, dense. The second-level cache's bandwidth is Hopper's as the
/// copies of implicit GEMM reach it (7.5 to 8.3e12 at every size of tile), the others' as published
/// micro-benchmarks found it, to about a fifth.
struct Gpu {
  std::string name;
  double memory;  // bytes a second
  double cache;   // bytes a second
  double cache_bytes;
  double fp64, fp32, tf32, bf16;  // operations a second
  int multiprocessors;
  bool warpgroups = false;

  double rate(Unit unit) const {
    switch (unit) {
      case Unit::tf32: return tf32;
      case Unit::bf16: return bf16;
      case Unit::fp64: return fp64;
      case Unit::fp32: break;
    }
    return fp32;
  }
};

const std::vector<Gpu> gpus = {
    {"h100", 3.35e12, 8.0e12, 50e6, 33.5e12, 67e12, 495e12, 989e12, 132, true},
    {"h200", 4.8e12, 8.0e12, 50e6, 33.5e12, 67e12, 495e12, 989e12, 132, true},
    {"a100", 2.04e12, 4.0e12, 40e6, 9.7e12, 19.5e12, 156e12, 312e12, 108},
    {"rtx4090", 1.008e12, 5.0e12, 72e6, 1.29e12, 82.6e12, 82.6e12, 165e12, 128},
    {"rtx3090", 0.936e12, 2.0e12, 6e6, 0.556e12, 35.6e12, 35.6e12, 71e12, 82},
    {"t4", 0.32e12, 1.2e12, 4e6, 0.253e12, 8.1e12, 8.1e12, 8.1e12, 40},
};

/// From the end of one kernel's work to the begin of the next one's in a graph, and what is reached
/// of the peak rates: an H100's copies run at 3.0 TB/s, its products of large matrices in bfloat16
/// at 798 TFLOP/s.
constexpr double gap_seconds = 2e-6;
constexpr double memory_share = 0.90, math_share = 0.81;

struct Options {
  vicreg::TrainOptions train = vicreg::recipe_defaults(vicreg::Recipe::standard);
  std::string gpu = "h100", link = "nvlink";
  int gpus = 0;  // 0: one, kernel by kernel
  bool measure = false, json = false;
};

/// What the work of one launch takes at the peak rates, or at the given shares of them.
struct Bound {
  double memory, cache, math;
  Bound(const ProfileEntry& entry, const Gpu& gpu, double of_memory = 1, double of_math = 1)
      : memory(entry.work.bytes / (gpu.memory * of_memory)),
        cache((entry.work.bytes + entry.work.cached_bytes) / gpu.cache),
        math(entry.work.flops / (gpu.rate(entry.work.unit) * of_math)) {}
  double seconds() const { return std::max({memory, cache, math}); }
  const char* by() const {
    return math >= std::max(memory, cache) ? "arithmetic" : cache > memory ? "cache" : "memory";
  }
};

double expected_seconds(const ProfileEntry& entry, const Gpu& gpu) {
  return Bound(entry, gpu, memory_share, math_share).seconds() + gap_seconds;
}

/// All launches of one name.
struct Group {
  std::string name, bound_by;
  std::int64_t launches = 0;
  double bytes = 0, cached_bytes = 0, flops = 0, least = 0, expected = 0, measured = 0, largest = 0;

  void add(const ProfileEntry& entry, const Gpu& gpu) {
    const Bound bound(entry, gpu);
    ++launches;
    bytes += entry.work.bytes;
    cached_bytes += entry.work.cached_bytes;
    flops += entry.work.flops;
    least += bound.seconds();
    expected += expected_seconds(entry, gpu);
    measured += entry.seconds;
    if (bound.seconds() >= largest) bound_by = bound.by();
    largest = std::max(largest, bound.seconds());
  }
};

/// The launches of the second of two steps: the first one makes the optimiser's state. With
/// `processes` it is the step of the one member `shards`, whose messages are counted.
std::vector<ProfileEntry> profile_step(const vicreg::TrainOptions& options, bool measure,
                                       bench::CountingProcesses* processes = nullptr,
                                       Communicator* shards = nullptr) {
  Generator generator(0);
  nn::VICRegModel model(options.model, generator);
  model.to(Device::cuda);
  const auto optimizer = vicreg::make_optimizer(options, model.parameters());
  vicreg::TrainStep step(options, model, *optimizer, Device::cuda, /*replay=*/false, nullptr,
                         shards);
  const std::int64_t images = 2 * options.batch_size;
  const data::Dataset dataset{
      zeros({images, 32, 32, 3}, {DType::uint8}), zeros({images}, {DType::int64}), {"none"}};
  data::Loader loader(dataset, {.batch_size = options.batch_size,
                                .views = options.views.count,
                                .workers = 0,
                                .device = Device::cuda,
                                .augment = vicreg::augment_options(options.views)});
  loader.start_epoch(0);
  cuda::Profile profile(measure);
  step.run(loader.next()->images, options.lr);
  const std::size_t first = profile.entries().size();
  if (processes) {
    processes->start([&profile, first] { return profile.entries().size() - first; });
    vicreg::largest_of_members(*shards, 0);  // whether a signal came, as the trainer asks
  }
  step.run(loader.next()->images, options.lr);
  return {profile.entries().begin() + static_cast<std::ptrdiff_t>(first), profile.entries().end()};
}

/// The step of one of so many members, with options.batch_size images each.
bench::MemberStep member_step(const vicreg::TrainOptions& options, int members, const Gpu& gpu) {
  std::vector<ProfileEntry> entries;
  bench::CountingProcesses processes(members);
  if (members == 1)
    entries = profile_step(options, false);
  else
    run_members(1, &processes, [&](Communicator& communicator) {
      entries = profile_step(options, false, &processes, &communicator);
    });
  bench::MemberStep step{.members = members, .launches = {}, .messages = processes.messages()};
  for (const ProfileEntry& entry : entries)
    step.launches.push_back(
        {.seconds = expected_seconds(entry, gpu), .adds = entry.lane == cuda::Lane::exchange});
  return step;
}

/// The launches by name, those with the largest least time first; and all together.
struct Groups {
  std::vector<Group> by_name;
  Group total;
};

Groups group(const std::vector<ProfileEntry>& entries, const Gpu& gpu) {
  std::map<std::string, Group> by_name;
  Groups groups;
  for (const ProfileEntry& entry : entries) {
    by_name[entry.name].add(entry, gpu);
    by_name[entry.name].name = entry.name;
    groups.total.add(entry, gpu);
  }
  for (auto& [name, group] : by_name) groups.by_name.push_back(group);
  std::sort(groups.by_name.begin(), groups.by_name.end(),
            [](const Group& a, const Group& b) { return a.least > b.least; });
  return groups;
}

/// Seconds of each kernel, of all its launches.
void print_json(const Groups& groups) {
  nlohmann::ordered_json kernels = nlohmann::ordered_json::array();
  for (const Group& g : groups.by_name)
    kernels.push_back({{"name", g.name},
                       {"calls", g.launches},
                       {"bytes", g.bytes},
                       {"cached_bytes", g.cached_bytes},
                       {"flops", g.flops},
                       {"least", g.least},
                       {"expected", g.expected},
                       {"measured", g.measured},
                       {"bound_by", g.bound_by}});
  const nlohmann::ordered_json record{{"kernels", kernels},
                                      {"calls", groups.total.launches},
                                      {"least", groups.total.least},
                                      {"expected", groups.total.expected},
                                      {"measured", groups.total.measured}};
  fmt::print("{}\n", record.dump());
}

void print_table(const Groups& groups, const Gpu& gpu, const Options& options) {
  const Group& total = groups.total;
  fmt::print("{:<34} {:>5} {:>8} {:>8} {:>8} {:>9} {:>9}  {:<10}{}\n", "kernel", "calls", "GB",
             "cache GB", "TFLOP", "least ms", "expected", "bound by",
             options.measure ? " measured ms  reached" : "");
  for (const Group& g : groups.by_name) {
    fmt::print("{:<34} {:>5} {:>8.3f} {:>8.3f} {:>8.4f} {:>9.4f} {:>9.4f}  {:<10}", g.name,
               g.launches, g.bytes / 1e9, g.cached_bytes / 1e9, g.flops / 1e12, 1e3 * g.least,
               1e3 * g.expected, g.bound_by);
    if (options.measure)
      fmt::print(" {:>11.4f} {:>7.1f}%", 1e3 * g.measured, 100 * g.least / g.measured);
    fmt::print("\n");
  }
  fmt::print("{:<34} {:>5} {:>8.3f} {:>8.3f} {:>8.4f} {:>9.4f} {:>9.4f}\n", "total", total.launches,
             total.bytes / 1e9, total.cached_bytes / 1e9, total.flops / 1e12, 1e3 * total.least,
             1e3 * total.expected);
  fmt::print(
      "step of batch {} on {}, {}: at least {:.2f} ms at the peak rates; expected {:.2f} ms: "
      "{:.0f} "
      "% of memory's, {:.0f} % of the arithmetic's, and {:.2f} ms between {} kernels\n",
      options.train.batch_size, gpu.name, apps::precision_text(options.train.compute, Device::cuda),
      1e3 * total.least, 1e3 * total.expected, 100 * memory_share, 100 * math_share,
      1e3 * gap_seconds * static_cast<double>(total.launches), total.launches);
  if (options.measure)
    fmt::print("measured, each kernel by itself: {:.2f} ms on {}\n", 1e3 * total.measured,
               cuda_device_description());
}

/// The step on 1, 2, 4, ... GPUs, with options.train.batch_size images each, and with as many of
/// all together for as long as each GPU has one.
void print_scaling(const Options& options, const Gpu& gpu) {
  const auto& networks = bench::networks();
  const bench::Network& network =
      *std::find_if(networks.begin(), networks.end(),
                    [&](const bench::Network& n) { return n.name == options.link; });
  const std::int64_t batch = options.train.batch_size;
  std::vector<bench::Scaling> local, global;
  vicreg::TrainOptions train = options.train;
  for (int members = 1; members <= options.gpus; members *= 2) {
    train.batch_size = batch;
    local.push_back(bench::scaling_of(member_step(train, members, gpu), batch, network, local));
    if (batch % members != 0) continue;
    train.batch_size = batch / members;
    global.push_back(
        bench::scaling_of(member_step(train, members, gpu), train.batch_size, network, global));
  }
  if (options.json) {
    const nlohmann::ordered_json record{{"link", network.name},
                                        {"fixed_local_batch", bench::to_json(local)},
                                        {"fixed_global_batch", bench::to_json(global)}};
    fmt::print("{}\n", record.dump());
    return;
  }
  const std::string where = fmt::format("on {}, {}, {}; ms", gpu.name, network.name,
                                        apps::precision_text(options.train.compute, Device::cuda));
  bench::print_table(fmt::format("{} images a GPU {}", batch, where), local);
  bench::print_table(fmt::format("\n{} images in all {}", batch, where), global);
}

void run(const Options& options) {
  check(cuda_available(), "gpu_step", "{}", cuda_unavailable_reason());
  const Gpu gpu =
      *std::find_if(gpus.begin(), gpus.end(), [&](const Gpu& g) { return g.name == options.gpu; });
#if defined(GRADUS_CUDA_EMULATOR)
  check(!options.measure, "gpu_step", "--measure needs a real GPU; this one is emulated");
  cuda::emulator::set_memory_limit(std::size_t{48} << 30);  // address space: nothing is written
  cuda::emulator::set_poison(false);
#endif
  if (!options.measure) {
    cuda::assume_l2_bytes(static_cast<std::size_t>(gpu.cache_bytes));
    cuda::assume_multiprocessors(gpu.multiprocessors);
    cuda::implicit_gemm::allow_warpgroups(gpu.warpgroups);
  }
  allow_tf32(options.train.compute.tf32);
  if (options.gpus > 0) return print_scaling(options, gpu);
  const Groups groups = group(profile_step(options.train, options.measure), gpu);
  options.json ? print_json(groups) : print_table(groups, gpu, options);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  apps::CommandLine app("The least time of a training step on a GPU, kernel by kernel.",
                        "gpu_step");
  apps::add_integer(app, "--batch-size", options.train.batch_size,
                    "Images a step (each in two views)", 2, 1 << 16);
  std::vector<std::string> names;
  for (const Gpu& gpu : gpus) names.push_back(gpu.name);
  app.add_option("--gpu", options.gpu, "The GPU whose peak rates are taken")
      ->check(CLI::IsMember(names));
  app.add_flag("--bf16", options.train.compute.bf16, "Mixed precision with bfloat16");
  app.add_flag("--tf32", options.train.compute.tf32, "TF32 products");
  auto* const measure =
      app.add_flag("--measure", options.measure, "Also run the step and time each kernel");
  apps::add_integer(
      app, "--gpus", options.gpus,
      "Instead of the kernels, the step on 1, 2, 4, ... GPUs up to so many: with so many "
      "images each, and with so many in all",
      1, 1024)
      ->excludes(measure);
  std::vector<std::string> links;
  for (const bench::Network& network : bench::networks()) links.push_back(network.name);
  app.add_option("--link", options.link,
                 "What connects them: NVLink in nodes of 8 and InfiniBand between, or InfiniBand")
      ->check(CLI::IsMember(links));
  app.add_flag("--json", options.json, "The figures as JSON, not a table");
  return apps::run_program(app, argc, argv, [&] { run(options); });
}
