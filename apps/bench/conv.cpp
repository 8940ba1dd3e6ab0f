// Speed of conv2d and its gradients on the layers of a CIFAR ResNet-18: the counterpart of
// pytorch_layers.py.
#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include <gradus/tensor/ops.h>
#include <gradus/tensor/repeated_work.h>
#include "bench/timing.h"
#include "common/command_line.h"
#include "common/compute.h"
#include "common/program.h"

using namespace gradus;

namespace {

struct Layer {
  const char* name;
  std::int64_t size, in, out, kernel, stride;  ///< size for images of 32x32
  int count;                                   ///< in the network
};

constexpr Layer layers[] = {
    {"stem 3x3", 32, 3, 64, 3, 1, 1},          {"layer1 3x3", 32, 64, 64, 3, 1, 4},
    {"layer2 3x3 / 2", 32, 64, 128, 3, 2, 1},  {"layer2 1x1 / 2", 32, 64, 128, 1, 2, 1},
    {"layer2 3x3", 16, 128, 128, 3, 1, 3},     {"layer3 3x3 / 2", 16, 128, 256, 3, 2, 1},
    {"layer3 1x1 / 2", 16, 128, 256, 1, 2, 1}, {"layer3 3x3", 8, 256, 256, 3, 1, 3},
    {"layer4 3x3 / 2", 8, 256, 512, 3, 2, 1},  {"layer4 1x1 / 2", 8, 256, 512, 1, 2, 1},
    {"layer4 3x3", 4, 512, 512, 3, 1, 3},
};

struct Options {
  std::int64_t batch = 128;
  std::int64_t size = 32;  ///< of the network's images
  int repeats = 5;
  apps::ComputeOptions compute{.device = apps::DeviceName::cpu};
  bool json = false;
};

struct Times {
  double operations;                     ///< of one pass, as the definition counts them
  double forward;                        ///< seconds
  std::optional<double> backward_input;  ///< none for the stem: images need no gradient
  double backward_weight;
};

/// Seconds of one call of pass(): on a GPU, of one of ten replays that follow each other.
template <class Pass>
double seconds_of_pass(Device device, int repeats, const Pass& pass) {
  if (device == Device::cpu) return bench::median_seconds(repeats, pass);
  constexpr int replays = 10;
  RepeatedWork work(device, pass);
  for (int i = 0; i < 3; ++i) work.run();  // the third run records
  check(work.replays(), "conv", "a pass was not captured: {}", work.failure());
  return bench::median_seconds(repeats,
                               [&] {
                                 for (int i = 0; i < replays; ++i) work.run();
                                 synchronize(device);
                               }) /
         replays;
}

Times measure(const Layer& layer, const Options& options, Device device) {
  const Conv2dOptions conv{
      .stride = layer.stride, .padding = layer.kernel / 2, .winograd = options.compute.winograd};
  Generator generator(1);
  const std::int64_t size = layer.size * options.size / 32;
  const Tensor x = uniform({options.batch, size, size, layer.in}, -1, 1, generator)
                       .to(options.compute.activation_dtype())
                       .to(device);
  const Tensor w =
      uniform({layer.out, layer.kernel, layer.kernel, layer.in}, -1, 1, generator).to(device);
  const Tensor y = conv2d(x, w, {}, conv);
  const auto seconds = [&](const auto& pass) {
    return seconds_of_pass(device, options.repeats, pass);
  };
  Times times{.operations = 2 * static_cast<double>(y.numel() * (w.numel() / layer.out)),
              .forward = seconds([&] { conv2d(x, w, {}, conv); }),
              .backward_input = {},
              .backward_weight = seconds([&] { conv2d_backward_weight(y, x, w.shape(), conv); })};
  if (layer.in != 3)
    times.backward_input = seconds([&] { conv2d_backward_input(y, w, x.shape(), conv); });
  return times;
}

nlohmann::ordered_json to_json(const Layer& layer, const Times& times) {
  nlohmann::ordered_json json{
      {"layer", layer.name}, {"count", layer.count}, {"forward", times.forward}};
  if (times.backward_input) json["backward_input"] = *times.backward_input;
  json["backward_weight"] = times.backward_weight;
  return json;
}

void print(const Layer& layer, std::int64_t size, const Times& times) {
  const auto rate = [&](double seconds) {
    return fmt::format("{:.1f}", times.operations / seconds * 1e-9);
  };
  fmt::print("{:16} {:>4} -> {:<4} {:>2}x{:<2}  {:8.2f} GFLOP {:>9} {:>9} {:>9}\n", layer.name,
             layer.in, layer.out, size, size, times.operations * 1e-9, rate(times.forward),
             times.backward_input ? rate(*times.backward_input) : "-", rate(times.backward_weight));
}

void run(const Options& options) {
  const Device device = apps::use(options.compute);
  if (options.json) {
    for (const Layer& layer : layers) {
      fmt::print("{}\n", to_json(layer, measure(layer, options, device)).dump());
      std::fflush(stdout);  // what is measured before a time limit counts
    }
    return;
  }
  Generator generator(1);
  const Tensor a = uniform({2048, 2048}, -1, 1, generator).to(device);
  const double seconds = seconds_of_pass(device, options.repeats, [&] { matmul(a, a); });
  fmt::print("matmul of 2048 x 2048: {:.1f} GFLOP/s\n\n",
             2 * 2048.0 * 2048 * 2048 / seconds * 1e-9);
  fmt::print("{:16} {:30}  {:>9} {:>9} {:>9}  GFLOP/s\n", "layer", "", "forward", "dinput",
             "dweight");
  for (const Layer& layer : layers)
    print(layer, layer.size * options.size / 32, measure(layer, options, device));
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  apps::CommandLine app("Speed of conv2d on the layers of a CIFAR ResNet-18", "conv");
  apps::add_integer(app, "--batch", options.batch, "Images", 1, 1 << 16);
  apps::add_integer(app, "--size", options.size, "Pixels a side of the network's images", 8, 4096);
  apps::add_integer(app, "--repeats", options.repeats,
                    "Calls timed at least, after a first one; the median counts", 1, 100000);
  apps::add_compute_options(app, options.compute);
  app.add_flag("--json", options.json, "Seconds as JSON, a line a layer, not a table");
  return apps::run_program(app, argc, argv, [&] { run(options); });
}
