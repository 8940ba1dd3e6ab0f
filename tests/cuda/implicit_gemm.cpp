// Convolution by implicit GEMM on the tensor cores: what it rounds, the statistics that it takes on
// the way, and what it refuses.
#include "tensor/cuda/conv/implicit_gemm.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <vector>

#include <gradus/tensor/ops_fused.h>
#include "tensor/cuda/conv/implicit_gemm_three_channels.h"
#include "tensor/cuda/conv/implicit_gemm_windows.h"
#include "tensor/cuda/runtime/runtime.h"
#include "tests/cuda/conv_cases.h"
#include "tests/cuda/tf32.h"
#include "tests/support/compare.h"
#include "tests/support/device.h"

namespace gradus::test {
namespace {

/// Tiles are of 128 pixels and of 64 or 128 channels; for the gradient of the weights, of 64 or 128
/// outputs and 64 pixels a step.
const std::vector<ConvCase> implicit_gemm_cases = {
    {"one pixel", {1, 1, 1, 64}, {64, 3, 3, 64}, {.padding = 1}},
    {"one row", {1, 1, 5, 64}, {64, 3, 3, 64}, {.padding = 1}},
    {"one column", {2, 5, 1, 64}, {64, 3, 3, 64}, {.padding = 1}, false},
    {"odd sizes", {3, 7, 9, 64}, {64, 3, 3, 64}, {.padding = 1}},
    {"one tile of pixels", {2, 8, 8, 64}, {64, 3, 3, 64}, {.padding = 1}, false},
    {"several tiles", {2, 13, 11, 128}, {256, 3, 3, 128}, {.padding = 1}},
    {"more channels than outputs", {3, 5, 6, 192}, {64, 3, 3, 192}, {.padding = 1}},
    {"more outputs than channels", {3, 6, 5, 64}, {192, 3, 3, 64}, {.padding = 1}},
    {"several parts", {4, 12, 12, 64}, {64, 3, 3, 64}, {.padding = 1}},
    {"stride 2, one pixel", {1, 1, 1, 64}, {64, 3, 3, 64}, {.stride = 2, .padding = 1}},
    {"stride 2, even", {3, 8, 6, 64}, {128, 3, 3, 64}, {.stride = 2, .padding = 1}, false},
    {"stride 2, odd", {3, 9, 7, 128}, {64, 3, 3, 128}, {.stride = 2, .padding = 1}},
    {"stride 2, even and odd", {2, 10, 13, 64}, {64, 3, 3, 64}, {.stride = 2, .padding = 1}},
    {"stride 2, several tiles", {5, 14, 15, 128}, {128, 3, 3, 128}, {.stride = 2, .padding = 1}},
    {"1x1, stride 2, one pixel", {1, 1, 1, 64}, {64, 1, 1, 64}, {.stride = 2}},
    {"1x1, stride 2, even", {3, 8, 6, 64}, {128, 1, 1, 64}, {.stride = 2}},
    {"1x1, stride 2, odd", {3, 9, 7, 128}, {64, 1, 1, 128}, {.stride = 2}, false},
    {"1x1, stride 2, several tiles", {5, 17, 15, 64}, {256, 1, 1, 64}, {.stride = 2}, false},
};

/// Tiles of warpgroups are of 128 pixels and 64, 128 or 256 channels; for the gradient of the
/// weights, of 128 outputs and 192 or 256 columns.
const std::vector<ConvCase> warpgroup_cases = {
    {"one pixel", {1, 1, 1, 64}, {64, 3, 3, 64}, {.padding = 1}},
    {"64 to 128", {2, 9, 11, 64}, {128, 3, 3, 64}, {.padding = 1}},
    {"128 to 64", {1, 9, 15, 128}, {64, 3, 3, 128}, {.padding = 1}, false},
    {"256 to 256", {1, 3, 3, 256}, {256, 3, 3, 256}, {.padding = 1}},
    {"one square of pixels", {1, 8, 8, 64}, {64, 3, 3, 64}, {.padding = 1}},
    {"squares, odd rounds", {5, 16, 24, 64}, {64, 3, 3, 64}, {.padding = 1}, false},
    {"squares, even rounds", {11, 8, 16, 64}, {64, 3, 3, 64}, {.padding = 1}, false},
    {"squares, a bias", {2, 16, 8, 64}, {64, 3, 3, 64}, {.padding = 1}},
    {"squares, 64 to 128", {1, 16, 8, 64}, {128, 3, 3, 64}, {.padding = 1}},
    {"squares, 128 to 64", {3, 8, 24, 128}, {64, 3, 3, 128}, {.padding = 1}, false},
    {"squares, 192 to 128", {5, 8, 8, 192}, {128, 3, 3, 192}, {.padding = 1}, false},
    {"four images of a square", {4, 4, 4, 64}, {64, 3, 3, 64}, {.padding = 1}},
    {"three squares of images, 64 to 128", {12, 4, 4, 64}, {128, 3, 3, 64}, {.padding = 1}},
    {"images of no whole square", {6, 4, 4, 128}, {64, 3, 3, 128}, {.padding = 1}, false},
    {"squares, stride 2", {3, 16, 32, 64}, {64, 3, 3, 64}, {.stride = 2, .padding = 1}},
    {"images, stride 2", {8, 8, 8, 128}, {64, 3, 3, 128}, {.stride = 2, .padding = 1}, false},
    {"stride 2", {2, 9, 8, 64}, {128, 3, 3, 64}, {.stride = 2, .padding = 1}},
    {"stride 2, odd", {4, 15, 7, 64}, {64, 3, 3, 64}, {.stride = 2, .padding = 1}, false},
    {"1x1, stride 2", {2, 11, 9, 128}, {128, 1, 1, 128}, {.stride = 2}},
};

/// Tiles are of 128 pixels and 64 channels; for the gradient of the weights, of 64 pixels a step.
const std::vector<ConvCase> image_cases = {
    {"one pixel", {1, 1, 1, 3}, {64, 3, 3, 3}, {.padding = 1}},
    {"one row", {1, 1, 5, 3}, {64, 3, 3, 3}, {.padding = 1}, false},
    {"odd sizes", {3, 7, 9, 3}, {64, 3, 3, 3}, {.padding = 1}},
    {"no padding", {2, 8, 8, 3}, {64, 3, 3, 3}},
    {"wide padding", {2, 3, 4, 3}, {64, 3, 3, 3}, {.padding = 2}},
    {"stride 2, 128 outputs", {3, 9, 8, 3}, {128, 3, 3, 3}, {.stride = 2, .padding = 1}},
    {"several parts", {4, 12, 13, 3}, {64, 3, 3, 3}, {.padding = 1}},
};

/// While one is alive, warpgroups multiply or do not, where there are such instructions, and work
/// is cut for few multiprocessors, whose blocks then take more than one tile.
class Warpgroups {
 public:
  explicit Warpgroups(bool on) : before_(cuda::implicit_gemm::allow_warpgroups(on)) {
    cuda::assume_multiprocessors(2);
  }
  ~Warpgroups() {
    cuda::implicit_gemm::allow_warpgroups(before_);
    cuda::assume_multiprocessors(0);
  }
  Warpgroups(const Warpgroups&) = delete;
  Warpgroups& operator=(const Warpgroups&) = delete;

 private:
  bool before_;
};

/// float32 with the mantissa's 13 last bits gone: rounded, ties away from zero, or dropped.
Tensor to_tf32(const Tensor& x, bool round) {
  std::vector<float> values = x.to(Device::cpu).to_vector<float>();
  for (float& value : values) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    value = std::bit_cast<float>((bits + (round ? 0x1000u : 0u)) & ~0x1FFFu);
  }
  return from_vector(values, x.shape());
}

/// Whether conv2d_with_statistics starts a kernel that reads the whole output for its statistics.
bool reads_output_again(const ConvInputs& in, const Conv2dOptions& options) {
  const cuda::Profile profile(false);
  conv2d_with_statistics(in.input, in.weight, options);
  return std::ranges::any_of(profile.entries(), [](const cuda::ProfileEntry& entry) {
    return entry.name == "batch_norm_statistics";
  });
}

/// Each pass has only the rounding error of its results against float64, in each element, and the
/// same bits when it is repeated: in bfloat16, or in TF32 for float32.
void check_implicit_gemm(const ConvCase& c, DType dtype) {
  const AllowTf32 allow;
  const ConvInputs in = random_inputs(c, dtype);
  CHECK(cuda::implicit_gemm::suits(geometry(in, c.options)) == has_tensor_cores());
  const ConvResults actual = run_ops(in, c.options), again = run_ops(in, c.options);
  const auto rounded = [&](const Tensor& x, bool round) {
    return exact(dtype == DType::float32 ? to_tf32(x, round) : x.to(dtype));
  };
  const Tensor bias = in.bias.defined() ? exact(in.bias) : Tensor(),
               weight = rounded(in.weight, true);
  // Of float32, warpgroups drop bits of the first factor; where they make weights' gradients, both
  // pass through registers and are rounded.
  const bool drops = cuda::implicit_gemm::uses_warpgroups();
  const ConvResults expected =
      run_ops({rounded(in.input, !drops), weight, bias, rounded(in.doutput, !drops)}, c.options);
  const Tensor dweight = conv2d_backward_weight(rounded(in.doutput, true), rounded(in.input, true),
                                                in.weight.shape(), c.options);
  const auto check = [](const Tensor& x, const Tensor& repeated, const Tensor& right, double rms,
                        double largest) {
    CHECK(same_bits(x, repeated));
    CHECK(rms_error(x, right) < rms);
    CHECK(relative_error(x, right) <= largest);
  };
  // Tensor cores add with fewer bits than float32 has: up to 5.8e-6 on an H100.
  const double rms = dtype == DType::float32 ? 1e-5 : 2e-3;
  const double largest = dtype == DType::float32 ? 2e-5 : 0x1p-8;
  check(actual.output, again.output, expected.output, rms, largest);
  check(actual.dinput, again.dinput, expected.dinput, rms, largest);
  check(actual.dweight, again.dweight, dweight, 5e-6, 5e-6);
}

}  // namespace

TEST_CASE("convolution by implicit GEMM rounds its inputs and results, and nothing else") {
  const OneOrder one_order;
  for (const DType dtype : {DType::bfloat16, DType::float32}) {
    CAPTURE(name(dtype));
    for (const ConvCase& c : implicit_gemm_cases) {
      CAPTURE(c.name);
      check_implicit_gemm(c, dtype);
    }
  }
}

TEST_CASE("convolution by implicit GEMM of warpgroups is as exact") {
  const OneOrder one_order;
  const Warpgroups on(true);
  if (!cuda::implicit_gemm::uses_warpgroups()) return;
  for (const DType dtype : {DType::bfloat16, DType::float32}) {
    CAPTURE(name(dtype));
    for (const ConvCase& c : warpgroup_cases) {
      CAPTURE(c.name);
      check_implicit_gemm(c, dtype);
    }
  }
}

TEST_CASE(
    "convolution of images by implicit GEMM rounds its inputs and results, and nothing else") {
  const OneOrder one_order;
  const AllowTf32 allow;
  for (const DType dtype : {DType::bfloat16, DType::float32}) {
    CAPTURE(name(dtype));
    for (const ConvCase& c : image_cases) {
      CAPTURE(c.name);
      const ConvInputs in = random_inputs(c, dtype);
      const Conv2dGeometry g = geometry(in, c.options);
      CHECK(cuda::implicit_gemm::three_channels::suits(g) == has_tensor_cores());
      const auto rounded = [&](const Tensor& x) {
        return exact(dtype == DType::float32 ? to_tf32(x, true) : x.to(dtype));
      };
      const Tensor bias = in.bias.defined() ? exact(in.bias) : Tensor();
      const Tensor output = conv2d(in.input, in.weight, in.bias, c.options);
      const Tensor right = conv2d(rounded(in.input), rounded(in.weight), bias, c.options);
      CHECK(rms_error(output, right) < (dtype == DType::float32 ? 1e-6 : 2e-3));
      CHECK(relative_error(output, right) <= (dtype == DType::float32 ? 1e-6 : 0x1p-8));
      CHECK(same_bits(output, conv2d(in.input, in.weight, in.bias, c.options)));
      const auto dweight = [&](const Tensor& x, const Tensor& dy) {
        return conv2d_backward_weight(dy, x, in.weight.shape(), c.options);
      };
      const Tensor gradient = dweight(in.input, in.doutput);
      CHECK(relative_error(gradient, dweight(rounded(in.input), rounded(in.doutput))) <= 1e-6);
      CHECK(same_bits(gradient, dweight(in.input, in.doutput)));
      if (g.output_pixels() < 2) continue;
      const auto [y, statistics] = conv2d_with_statistics(in.input, in.weight, c.options);
      const BatchStatistics expected = batch_norm_statistics(exact(y));
      CHECK(same_bits(y, conv2d(in.input, in.weight, {}, c.options)));
      CHECK(relative_error(statistics.mean, expected.mean) <= 1e-6);
      CHECK(relative_error(statistics.variance, expected.variance) <= 1e-6);
    }
  }
}

TEST_CASE("convolution by implicit GEMM takes the statistics of its output on the way") {
  const OneOrder one_order;
  const AllowTf32 allow;
  for (const bool warpgroups : {false, true}) {
    const Warpgroups on(warpgroups);
    for (const DType dtype : {DType::bfloat16, DType::float32}) {
      CAPTURE(name(dtype));
      for (const ConvCase& c : warpgroup_cases) {
        CAPTURE(c.name);
        const ConvInputs in = random_inputs(c, dtype);
        const Tensor output = conv2d(in.input, in.weight, {}, c.options);
        const auto [y, statistics] = conv2d_with_statistics(in.input, in.weight, c.options);
        const BatchStatistics expected = batch_norm_statistics(exact(output));
        CHECK(same_bits(y, output));
        CHECK(relative_error(statistics.mean, expected.mean) <= 1e-6);
        CHECK(relative_error(statistics.variance, expected.variance) <= 1e-6);
        if (has_tensor_cores()) CHECK_FALSE(reads_output_again(in, c.options));
      }
    }
  }
}

TEST_CASE("implicit GEMM counts a multiply-add for each output, tap and channel") {
  if (!has_tensor_cores()) return;
  const ConvCase c{"", {2, 8, 8, 64}, {128, 3, 3, 64}, {.stride = 2, .padding = 1}};
  const ConvInputs in = random_inputs(c, DType::bfloat16);
  const cuda::Profile profile(false);
  run_ops(in, c.options);
  double flops = 0;
  for (const cuda::ProfileEntry& entry : profile.entries()) {
    if (entry.name.ends_with("implicit gemm")) flops += entry.work.flops;
  }
  CHECK(flops == 3 * 2.0 * (2 * 4 * 4) * 128 * (9 * 64));
}

TEST_CASE("implicit GEMM refuses what its kernels do not compute") {
  const Conv2dGeometry good{.N = 2,
                            .H = 8,
                            .W = 8,
                            .C = 64,
                            .O = 128,
                            .out_height = 8,
                            .out_width = 8,
                            .kernel = 3,
                            .padding = 1};
  const auto suits = [&](auto change) {
    Conv2dGeometry g = good;
    change(g);
    return cuda::implicit_gemm::suits(g);
  };
  using G = Conv2dGeometry;
  CHECK(suits([](G&) {}) == has_tensor_cores());
  CHECK_FALSE(suits([](G& g) { g.C = 32; }));
  CHECK_FALSE(suits([](G& g) { g.C = 96; }));
  CHECK_FALSE(suits([](G& g) { g.O = 72; }));
  CHECK_FALSE(suits([](G& g) { g.groups = 2; }));
  CHECK_FALSE(suits([](G& g) { g.dilation = 2; }));
  CHECK_FALSE(suits([](G& g) { g.padding = 0; }));
  CHECK_FALSE(suits([](G& g) { g.padding = {1, 0}; }));
  CHECK_FALSE(suits([](G& g) { g.stride = 3; }));
  CHECK_FALSE(suits([](G& g) { g.stride = {2, 1}; }));
  CHECK_FALSE(suits([](G& g) { g.kernel = {3, 1}; }));
  CHECK_FALSE(suits([](G& g) { g.kernel = 5, g.padding = 2; }));
  CHECK_FALSE(suits([](G& g) { g.kernel = 1, g.padding = 0; }));  // cuBLAS takes the input as it is
  CHECK_FALSE(suits([](G& g) { g.N = 1 << 20; }));                // 2^32 inputs
}

TEST_CASE("convolution of bfloat16 takes views that are not aligned to 16 bytes") {
  const ConvCase c{"", {1, 3, 4, 64}, {64, 3, 3, 64}, {.padding = 1}, false};
  const ConvInputs in = random_inputs(c, DType::bfloat16);
  const auto shifted =
      [](const Tensor& x) {  // the same elements, 2 bytes behind a 16-byte boundary
        const Tensor flat = x.reshape({x.numel()});
        const Tensor longer = concat({flat.slice(0, 1), flat});
        return longer.slice(1, x.numel() + 1).reshape(x.shape());
      };
  const ConvResults expected = run_reference<BFloat16>(in, c.options);
  const ConvResults actual =
      run_ops({shifted(in.input), in.weight, {}, shifted(in.doutput)}, c.options);
  CHECK(relative_error(actual.output, expected.output) <= 0x1p-7);
  CHECK(relative_error(actual.dinput, expected.dinput) <= 0x1p-7);
  CHECK(relative_error(actual.dweight, expected.dweight) <= 1e-6);
}

}  // namespace gradus::test
