// How a convolution becomes fast, step by step: the GFLOP/s of one layer of ResNet-18 (3x3, 64 ->
// 64 channels, 32x32, float32), from the definition to the library's ways. ladder --help.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include <gradus/autograd/variable.h>
#include <gradus/nn/batch_norm.h>
#include <gradus/nn/conv2d.h>
#include <gradus/nn/fused.h>
#include <gradus/tensor/device.h>
#include <gradus/tensor/ops.h>
#include "bench/timing.h"
#include "common/command_line.h"
#include "common/compute.h"
#include "common/program.h"

namespace {

using namespace gradus;

constexpr std::int64_t size = 32, channels = 64, depth = 9 * channels;

struct Options {
  std::int64_t batch = 8;
  int repeats = 5;
  int threads = 1;
  bool library_only = false;
};

/// The pixel that tap (ky, kx) of the window around (row, column) sees; null outside of the image.
const float* pixel(const float* image, std::int64_t row, std::int64_t column, std::int64_t ky,
                   std::int64_t kx) {
  const std::int64_t y = row + ky - 1, x = column + kx - 1;
  if (y < 0 || y >= size || x < 0 || x >= size) return nullptr;
  return image + (y * size + x) * channels;
}

/// y[n, p, q, o] = sum over r, s, c of x[n, p + r - 1, q + s - 1, c] w[o, r, s, c], as it is
/// written (row p, column q, tap 3 r + s, channel c = i).
void definition(const Tensor& x, const Tensor& w, Tensor& y) {
  float* out = y.data<float>();
  for (std::int64_t n = 0; n < x.size(0); ++n) {
    const float* image = x.data<float>() + n * size * size * channels;
    for (std::int64_t row = 0; row < size; ++row)
      for (std::int64_t column = 0; column < size; ++column)
        for (std::int64_t o = 0; o < channels; ++o) {
          const float* weight = w.data<float>() + o * depth;
          float sum = 0;
          for (std::int64_t tap = 0; tap < 9; ++tap) {
            const float* from = pixel(image, row, column, tap / 3, tap % 3);
            for (std::int64_t i = 0; from != nullptr && i < channels; ++i)
              sum += from[i] * weight[tap * channels + i];
          }
          *out++ = sum;
        }
  }
}

/// What each window sees as a row: [N 32 32, 9 64].
void fill_columns(const Tensor& x, Tensor& columns) {
  float* out = columns.data<float>();
  for (std::int64_t n = 0; n < x.size(0); ++n) {
    const float* image = x.data<float>() + n * size * size * channels;
    for (std::int64_t row = 0; row < size; ++row)
      for (std::int64_t column = 0; column < size; ++column)
        for (std::int64_t tap = 0; tap < 9; ++tap, out += channels) {
          const float* from = pixel(image, row, column, tap / 3, tap % 3);
          if (from != nullptr)
            std::copy_n(from, channels, out);
          else
            std::fill_n(out, channels, 0.0f);
        }
  }
}

/// y = columns w^T, row by row; the innermost loop runs over neighbouring outputs, so that the
/// compiler makes vectors of it.
void plain_product(const Tensor& columns, const Tensor& transposed, Tensor& y) {
  const float* a = columns.data<float>();
  const float* b = transposed.data<float>();
  float* out = y.data<float>();
  for (std::int64_t row = 0; row < columns.size(0); ++row, a += depth, out += channels) {
    std::fill_n(out, channels, 0.0f);
    for (std::int64_t p = 0; p < depth; ++p)
      for (std::int64_t o = 0; o < channels; ++o) out[o] += a[p] * b[p * channels + o];
  }
}

class Ladder {
 public:
  explicit Ladder(const Options& options)
      : options_(options),
        x_(uniform({options.batch, size, size, channels}, -1, 1, generator_)),
        w_(uniform({channels, 3, 3, channels}, -1, 1, generator_)),
        y_(conv2d(x_, w_, {}, {.padding = 1})) {}

  /// The steps that a reader could write in an afternoon.
  void plain() {
    Tensor y = empty(y_.shape());
    print(
        "the definition: six loops", [&] { definition(x_, w_, y); }, y);
    Tensor columns = empty({y_.numel() / channels, depth});
    Tensor flat = y.reshape({-1, channels});
    const Tensor flat_w = w_.reshape({channels, depth}), transposed = transpose(flat_w);
    print(
        "columns, and a product of three loops",
        [&] {
          fill_columns(x_, columns);
          plain_product(columns, transposed, flat);
        },
        y);
    print(
        "columns, and the library's blocked product",
        [&] {
          fill_columns(x_, columns);
          flat = matmul(columns, flat_w, {.transpose_b = true});
        },
        flat);
  }

  /// The library's ways, at the level of vector instructions that this process uses.
  void library(const std::string& level) {
    const auto ways = {std::pair{"windows in place", false}, std::pair{"Winograd", true}};
    for (const auto& [name, winograd] : ways) {
      Tensor y;
      print(
          fmt::format("{}, {}", name, level),
          [&, winograd = winograd] {
            y = conv2d(x_, w_, {}, {.padding = 1, .winograd = winograd});
          },
          y);
    }
  }

  /// With the batch norm and the ReLU that follow it: one by one, and as one pass over memory.
  void fused() {
    nn::Conv2d conv({.in_channels = channels,
                     .out_channels = channels,
                     .kernel = 3,
                     .padding = 1,
                     .bias = false},
                    generator_);
    nn::BatchNorm2d norm({.channels = channels});
    const NoGrad no_grad;
    const double apart =
        bench::least_seconds(options_.repeats, [&] { relu(norm(conv(x_)).value()); });
    const double together = bench::least_seconds(
        options_.repeats, [&] { nn::fused::conv_norm_relu(conv, norm, Variable(x_)); });
    fmt::print("\nwith batch norm and ReLU: one by one {:.2f} ms, as one {:.2f} ms\n", apart * 1e3,
               together * 1e3);
  }

 private:
  template <class Function>
  void print(const std::string& name, const Function& function, const Tensor& result) {
    const double seconds = bench::least_seconds(options_.repeats, function);
    const double operations = 2 * static_cast<double>(y_.numel() * depth);
    const auto expected = y_.to_vector<float>(), got = result.to_vector<float>();
    float error = 0;
    for (std::size_t i = 0; i < got.size(); ++i)
      error = std::max(error, std::abs(got[i] - expected[i]));
    check(error < 1e-3f, "ladder", "{} is wrong by {}", name, error);
    fmt::print("{:48} {:8.1f} GFLOP/s\n", name, operations / seconds * 1e-9);
    std::fflush(stdout);
  }

  Options options_;
  Generator generator_{1};
  Tensor x_, w_, y_;
};

/// Runs this program again for each level that the processor has: a level is chosen at the start.
void run_levels(char** argv) {
  std::vector<char*> arguments;
  for (char** argument = argv; *argument != nullptr; ++argument) arguments.push_back(*argument);
  std::string library_only = "--library-only";
  arguments.push_back(library_only.data());
  arguments.push_back(nullptr);
  for (const std::string_view level : {"generic", "avx2", "avx512"}) {
    const pid_t child = fork();
    check(child >= 0, "ladder", "cannot start another process");
    if (child == 0) {
      setenv("GRADUS_SIMD", level.data(), 1);
      execv("/proc/self/exe", arguments.data());
      _exit(1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    check(status == 0, "ladder", "the steps with {} failed", level);
    if (level == cpu_instructions()) break;  // the processor has no more
  }
}

void run(const Options& options, char** argv) {
  apps::use({.device = apps::DeviceName::cpu, .threads = options.threads});
  if (options.library_only) return Ladder(options).library(std::string(cpu_instructions()));
  Ladder ladder(options);
  fmt::print("{} images [32, 32, 64], 3x3 to 64 channels, {} threads\n", options.batch,
             options.threads);
  ladder.plain();
  run_levels(argv);
  ladder.fused();
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  apps::CommandLine app(
      "A convolution from its definition to the library's ways, in GFLOP/s as the definition "
      "counts "
      "them",
      "ladder");
  apps::add_integer(app, "--batch", options.batch, "Images", 1, 1 << 12);
  apps::add_integer(app, "--repeats", options.repeats,
                    "Calls timed at least, after a first one; the fastest counts", 1, 100000);
  apps::add_integer(app, "--threads", options.threads, "Threads of the library's ways; 1 is fair",
                    1, 4096);
  app.add_flag("--library-only", options.library_only,
               "Only the library's ways, at the level that GRADUS_SIMD names");
  return apps::run_program(app, argc, argv, [&] { run(options, argv); });
}
