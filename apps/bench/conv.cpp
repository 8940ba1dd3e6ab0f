// Speed of conv2d and its gradients on the layers of a CIFAR ResNet-18, in GFLOP/s.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>

#include "tensor/ops.h"

using namespace gradus;

namespace {

struct Layer {
  const char* name;
  std::int64_t size, in, out, kernel, stride;
};

constexpr Layer layers[] = {
    {"stem 3x3", 32, 3, 64, 3, 1},          {"layer1 3x3", 32, 64, 64, 3, 1},
    {"layer2 3x3 / 2", 32, 64, 128, 3, 2},  {"layer2 1x1 / 2", 32, 64, 128, 1, 2},
    {"layer2 3x3", 16, 128, 128, 3, 1},     {"layer3 3x3 / 2", 16, 128, 256, 3, 2},
    {"layer3 1x1 / 2", 16, 128, 256, 1, 2}, {"layer3 3x3", 8, 256, 256, 3, 1},
    {"layer4 3x3 / 2", 8, 256, 512, 3, 2},  {"layer4 1x1 / 2", 8, 256, 512, 1, 2},
    {"layer4 3x3", 4, 512, 512, 3, 1},
};

/// Seconds of the fastest of several calls; the first call only warms up.
template <class Function>
double fastest(int repeats, Function function) {
  function();
  double best = 1e30;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    function();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::min(best, seconds.count());
  }
  return best;
}

void run(const Layer& layer, std::int64_t batch, int repeats) {
  const Conv2dOptions options{.stride = layer.stride, .padding = layer.kernel / 2};
  Generator generator(1);
  const Tensor x = uniform({batch, layer.size, layer.size, layer.in}, -1, 1, generator);
  const Tensor w = uniform({layer.out, layer.kernel, layer.kernel, layer.in}, -1, 1, generator);
  const Tensor y = conv2d(x, w, {}, options);
  const double operations =
      2 * static_cast<double>(y.numel()) * static_cast<double>(w.numel() / layer.out);
  const double forward = fastest(repeats, [&] { conv2d(x, w, {}, options); });
  const double backward_input =
      fastest(repeats, [&] { conv2d_backward_input(y, w, x.shape(), options); });
  const double backward_weight =
      fastest(repeats, [&] { conv2d_backward_weight(x, y, w.shape(), options); });
  const auto rate = [&](double seconds) { return operations / seconds * 1e-9; };
  fmt::print("{:16} {:>4} -> {:<4} {:>2}x{:<2}  {:8.2f} GFLOP {:9.1f} {:9.1f} {:9.1f}\n",
             layer.name, layer.in, layer.out, layer.size, layer.size, operations * 1e-9,
             rate(forward), rate(backward_input), rate(backward_weight));
}

}  // namespace

int main(int argc, char** argv) {
  std::int64_t batch = 128;
  int repeats = 5;
  CLI::App app{"Speed of conv2d on the layers of a CIFAR ResNet-18"};
  app.add_option("--batch", batch, "Images")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--repeats", repeats, "The fastest counts")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);

  Generator generator(1);
  const Tensor a = uniform({2048, 2048}, -1, 1, generator);
  const double seconds = fastest(repeats, [&] { matmul(a, a); });
  fmt::print("matmul of 2048 x 2048: {:.1f} GFLOP/s\n\n",
             2 * 2048.0 * 2048 * 2048 / seconds * 1e-9);
  fmt::print("{:16} {:30}  {:>9} {:>9} {:>9}  GFLOP/s\n", "layer", "", "forward", "dinput",
             "dweight");
  for (const Layer& layer : layers) run(layer, batch, repeats);
}
