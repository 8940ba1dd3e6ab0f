// Runs the steps of the ladder (ladder.h) and the library's own kernel on one convolution, compares
// each result with the reference, and prints how long each takes: build/apps/bench/conv_ladder. On
// the emulated GPU (conv_ladder_emulated) it prints what each asks of memory instead.
#include "bench/conv_ladder/ladder.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <gradus/tensor/check.h>
#include <gradus/tensor/random.h>
#include <gradus/tensor/tensor.h>
#include "common/command_line.h"
#include "common/program.h"
#include "tensor/cuda/conv/conv_reference.h"
#include "tensor/cuda/conv/implicit_gemm.h"
#if defined(GRADUS_CUDA_EMULATOR)
#include "tensor/cuda/emulator/counters.h"
#endif

namespace {

using namespace gradus;
using conv_ladder::Problem;

struct Options {
#if defined(GRADUS_CUDA_EMULATOR)
  int images = 2, size = 10, channels = 64, outputs = 64, repeats = 1;
#else
  int images = 512, size = 16, channels = 128, outputs = 128, repeats = 5;
#endif
};

/// The tensors of the convolution, on the GPU.
struct Data {
  Tensor input, weight, scale, shift, output;
  Tensor rounded_weight;      // bfloat16
  std::vector<float> plain;   // the right output
  std::vector<float> scaled;  // and that with scale, shift and ReLU
};

Conv2dGeometry geometry(const Problem& p) {
  return {.N = p.N,
          .H = p.H,
          .W = p.W,
          .C = p.C,
          .O = p.O,
          .out_height = p.H,
          .out_width = p.W,
          .kernel = 3,
          .padding = 1};
}

Data make_data(const Problem& p) {
  Generator generator(1);
  const auto random = [&](const Shape& shape, double low, double high) {
    return uniform(shape, low, high, generator);
  };
  Data d;
  d.input = random({p.N, p.H, p.W, p.C}, -1, 1).to(DType::bfloat16).to(Device::cuda);
  d.rounded_weight = random({p.O, 3, 3, p.C}, -1, 1).to(DType::bfloat16).to(Device::cuda);
  d.weight = d.rounded_weight.to(DType::float32);
  d.scale = random({p.O}, 0.5, 1.5).to(Device::cuda);
  d.shift = random({p.O}, -1, 1).to(Device::cuda);
  d.output = empty({p.N, p.H, p.W, p.O}, {DType::bfloat16, Device::cuda});
  const Tensor input = d.input.to(DType::float32);
  Tensor right = empty(d.output.shape(), {DType::float32, Device::cuda});
  cuda::reference::conv2d<float>(std::as_const(input).data<float>(),
                                 std::as_const(d.weight).data<float>(), nullptr,
                                 right.data<float>(), geometry(p));
  d.plain = right.to(Device::cpu).to_vector<float>();
  const std::vector<float> scale = d.scale.to(Device::cpu).to_vector<float>();
  const std::vector<float> shift = d.shift.to(Device::cpu).to_vector<float>();
  d.scaled = d.plain;
  for (std::size_t i = 0; i < d.scaled.size(); ++i) {
    const std::size_t o = i % scale.size();
    d.scaled[i] = std::max(0.0f, scale[o] * d.plain[i] + shift[o]);
  }
  return d;
}

struct Step {
  std::string name;
  bool tensor_cores;
  bool scaled;  // whether its result is Data::scaled
  std::function<void()> run;
};

std::vector<Step> make_steps(const Problem& p, Data& d) {
  using namespace conv_ladder;
  const auto* input = std::as_const(d.input).data<BFloat16>();
  const auto* weight = std::as_const(d.rounded_weight).data<BFloat16>();
  const auto* scale = std::as_const(d.scale).data<float>();
  const auto* shift = std::as_const(d.shift).data<float>();
  auto* output = d.output.data<BFloat16>();
  const auto step = [=](auto function) { return [=] { function(input, weight, output, p); }; };
  const Tensor& full_weight = d.weight;
  return {
      {"1 naive", false, false, step(naive)},
      {"2 tiled", false, false, step(tiled)},
      {"3 vectorised", false, false, step(vectorised)},
      {"4 tensor cores", true, false, step(tensor_cores)},
      {"5 pipelined", true, false, step(pipelined)},
      {"  and scale, shift, ReLU", true, true,
       [=] {
         pipelined(input, weight, output, p);
         scale_shift_relu(output, scale, shift, output, p);
       }},
      {"6 fused with them", true, true, [=] { fused(input, weight, scale, shift, output, p); }},
      {"the library (as 5)", true, false,
       [=] {
         cuda::implicit_gemm::conv2d(input, full_weight.data<float>(), nullptr, output,
                                     geometry(p));
       }},
  };
}

/// Throws unless each element has only the rounding error of bfloat16, of the largest element.
void check_result(const Step& step, const Data& d) {
  const std::vector<float>& right = step.scaled ? d.scaled : d.plain;
  const std::vector<float> actual = d.output.to(Device::cpu).to(DType::float32).to_vector<float>();
  float largest = 0, error = 0;
  for (std::size_t i = 0; i < right.size(); ++i) {
    largest = std::max(largest, std::abs(right[i]));
    const float difference = std::abs(actual[i] - right[i]);
    if (!(difference <= error)) error = difference;  // NaN, too
  }
  // The pass of its own rounds twice.
  check(error <= 0x1p-7f * largest, "conv_ladder", "{}: an element is wrong by {} of the largest",
        step.name, error / largest);
}

#if defined(GRADUS_CUDA_EMULATOR)
// Requests of a warp, what they move in whole sectors of 32 bytes, and turns of shared memory: by
// how much bank conflicts make them more.
void print_header() {
  fmt::print("{:<26} {:>15} {:>9} {:>12} {:>9} {:>15}\n", "step", "global requests", "global MB",
             "shared turns", "conflicts", "tensor products");
}

void run_step(const Step& step, const Problem&, int) {
  const cuda::emulator::AccessCount count;
  step.run();
  const cuda::emulator::AccessCounters& c = count.counters();
  const double ideal = static_cast<double>(std::max<std::int64_t>(1, c.shared_ideal_wavefronts));
  fmt::print("{:<26} {:>15} {:>9.2f} {:>12} {:>8.0f}% {:>15}\n", step.name, c.global_requests,
             32e-6 * static_cast<double>(c.global_sectors), c.shared_wavefronts,
             100 * static_cast<double>(c.shared_wavefronts - c.shared_ideal_wavefronts) / ideal,
             c.tensor_products);
}
#else
void print_header() { fmt::print("{:<26} {:>9} {:>9}\n", "step", "ms", "TFLOP/s"); }

void run_step(const Step& step, const Problem& p, int repeats) {
  double least = INFINITY;
  for (int i = 0; i <= repeats; ++i) {
    const cuda::Profile profile(true);
    step.run();
    double seconds = 0;
    for (const cuda::ProfileEntry& entry : profile.entries()) seconds += entry.seconds;
    if (i > 0) least = std::min(least, seconds);
  }
  fmt::print("{:<26} {:>9.4f} {:>9.2f}\n", step.name, 1e3 * least, 1e-12 * p.flops() / least);
}
#endif

void run(const Options& options) {
  check(cuda_available(), "conv_ladder", "{}", cuda_unavailable_reason());
  const Problem p{options.images, options.size, options.size, options.channels, options.outputs};
  check(p.C % 64 == 0 && p.O % 64 == 0, "conv_ladder",
        "--channels and --outputs must be multiples of 64, not {} and {}", p.C, p.O);
  const double pixels = 1.0 * p.N * p.H * p.W;
  check(pixels <= 1 << 20 && pixels * std::max(p.C, p.O) < 0x1p31, "conv_ladder",
        "{} images of {} x {} x {} are too many: at most 2^20 pixels, and 2^31 elements", p.N, p.H,
        p.W, std::max(p.C, p.O));
  Data data = make_data(p);
  const bool has_tensor_cores = cuda::implicit_gemm::suits(geometry(p));
  fmt::print(
      "3x3 convolution of {} images of {} x {} x {} to {} channels, bfloat16: {:.3f} GFLOP "
      "on {}\n",
      p.N, p.H, p.W, p.C, p.O, 1e-9 * p.flops(), cuda_device_description());
  print_header();
  for (const Step& step : make_steps(p, data)) {
    if (step.tensor_cores && !has_tensor_cores) {
      fmt::print("{:<26} needs compute capability 8.0\n", step.name);
      continue;
    }
    data.output.fill(NAN);  // so that what a step leaves out is noticed
    run_step(step, p, options.repeats);
    check_result(step, data);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  apps::CommandLine app(
      "One 3x3 convolution, from the plain loop to the tensor cores, each step checked and timed",
      "conv_ladder");
  const auto add = [&](const char* name, int& value, const char* description) {
    apps::add_integer(app, name, value, description, 1, 1 << 20);
  };
  add("--images", options.images, "Images");
  add("--size", options.size, "Their height and width");
  add("--channels", options.channels, "Input channels");
  add("--outputs", options.outputs, "Output channels");
  add("--repeats", options.repeats, "Runs timed, after a first one; the least counts");
  return apps::run_program(app, argc, argv, [&] { run(options); });
}
