// Convolution on the GPU: each way of computing it against the plain reference kernels, and how
// exact Winograd's is.
#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include <gradus/tensor/ops.h>
#include <gradus/tensor/ops_fused.h>
#include "tensor/backend/winograd_matrices.h"
#include "tensor/cuda/conv/conv_reference.h"
#include "tensor/cuda/conv/implicit_gemm.h"
#include "tensor/cuda/conv/winograd.h"
#include "tensor/cuda/gemm/gemm.h"
#include "tensor/cuda/runtime/runtime.h"
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"

using namespace gradus;
using namespace gradus::test;

namespace {

struct Case {
  std::string name;
  Shape input, weight;
  Conv2dOptions options = {};
  bool bias = true;
};

/// Outputs of up to 4x4 are one tile; 16 channels are the fewest that take Winograd's way.
const std::vector<Case> winograd_cases = {
    {"one pixel", {1, 1, 1, 16}, {16, 3, 3, 16}, {.padding = 1}},
    {"one tile", {3, 4, 4, 16}, {20, 3, 3, 16}, {.padding = 1}, false},
    {"one output", {2, 3, 3, 24}, {16, 3, 3, 24}},
    {"odd sizes", {1, 5, 7, 32}, {16, 3, 3, 32}, {.padding = 1}},
    {"no padding", {3, 9, 9, 16}, {16, 3, 3, 16}},
    {"padding 2", {1, 9, 9, 16}, {16, 3, 3, 16}, {.padding = 2}},
    {"unlike paddings", {1, 4, 9, 16}, {16, 3, 3, 16}, {.padding = {0, 2}}},
    {"odd channels", {1, 5, 7, 17}, {19, 3, 3, 17}, {.padding = 1}},
    {"odd output channels", {2, 5, 6, 16}, {19, 3, 3, 16}, {.padding = 1}},
    {"several chunks", {3, 28, 25, 16}, {24, 3, 3, 16}, {.padding = 1}},
};

const std::vector<Case> other_cases = {
    {"1x1", {3, 5, 7, 20}, {12, 1, 1, 20}},
    {"1x1, groups", {2, 5, 7, 6}, {9, 1, 1, 2}, {.groups = 3}},
    {"1x1, stride 2", {2, 7, 6, 16}, {8, 1, 1, 16}, {.stride = 2}, false},
    {"stem", {2, 9, 8, 3}, {16, 3, 3, 3}, {.padding = 1}, false},
    {"3x3, few outputs", {2, 6, 5, 16}, {15, 3, 3, 16}, {.padding = 1}},
    {"3x3, stride 2", {2, 9, 10, 16}, {24, 3, 3, 16}, {.stride = 2, .padding = 1}, false},
    {"3x3, padding 3", {1, 4, 3, 16}, {16, 3, 3, 16}, {.padding = 3}},
    {"3x3, dilation 2", {2, 9, 8, 16}, {16, 3, 3, 16}, {.padding = 2, .dilation = 2}},
    {"3x3, groups", {2, 6, 7, 32}, {34, 3, 3, 16}, {.padding = 1, .groups = 2}},
    {"depthwise", {1, 6, 7, 5}, {10, 3, 3, 1}, {.padding = 1, .groups = 5}},
    {"anisotropic",
     {2, 7, 9, 8},
     {4, 3, 2, 8},
     {.stride = {2, 3}, .padding = {0, 1}, .dilation = {1, 2}}},
    {"7x7, larger than the image", {2, 5, 4, 3}, {8, 7, 7, 3}, {.stride = 2, .padding = 3}},
    {"several chunks", {5, 24, 23, 16}, {24, 3, 3, 16}, {.stride = 2, .padding = 1}},
};

/// Tiles are of 128 pixels and of 64 or 128 channels; for the gradient of the weights, of 64 or 128
/// outputs and 64 pixels a step.
const std::vector<Case> implicit_gemm_cases = {
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
const std::vector<Case> warpgroup_cases = {
    {"one pixel", {1, 1, 1, 64}, {64, 3, 3, 64}, {.padding = 1}},
    {"64 to 128", {2, 9, 11, 64}, {128, 3, 3, 64}, {.padding = 1}},
    {"128 to 64", {1, 9, 15, 128}, {64, 3, 3, 128}, {.padding = 1}, false},
    {"256 to 256", {1, 3, 3, 256}, {256, 3, 3, 256}, {.padding = 1}},
    {"stride 2", {2, 9, 8, 64}, {128, 3, 3, 64}, {.stride = 2, .padding = 1}},
    {"1x1, stride 2", {2, 11, 9, 128}, {128, 1, 1, 128}, {.stride = 2}},
};

struct Inputs {
  Tensor input, weight, bias, doutput;
};

/// Random inputs on the GPU; activations of `dtype`.
Inputs random_inputs(const Case& c, DType dtype) {
  const auto draw = [&](const Shape& shape, unsigned seed, DType type) {
    return random_tensor<float>(shape, seed).to(type);
  };
  const DType parameters = compute_dtype(dtype);
  const Tensor input = draw(c.input, 1, dtype), weight = draw(c.weight, 2, parameters);
  const Tensor bias = c.bias ? draw({c.weight[0]}, 3, parameters) : Tensor();
  const Shape output = conv2d(input, weight, {}, c.options).shape();
  return {input.to(Device::cuda), weight.to(Device::cuda), bias ? bias.to(Device::cuda) : Tensor(),
          draw(output, 4, dtype).to(Device::cuda)};
}

struct Results {
  Tensor output, dinput, dweight;
};

Results run_ops(const Inputs& in, const Conv2dOptions& options) {
  return {conv2d(in.input, in.weight, in.bias, options),
          conv2d_backward_input(in.doutput, in.weight, in.input.shape(), options),
          conv2d_backward_weight(in.input, in.doutput, in.weight.shape(), options)};
}

Conv2dGeometry geometry(const Inputs& in, const Conv2dOptions& options) {
  const Shape &x = in.input.shape(), &w = in.weight.shape(), &y = in.doutput.shape();
  return {.N = x[0],
          .H = x[1],
          .W = x[2],
          .C = x[3],
          .O = w[0],
          .out_height = y[1],
          .out_width = y[2],
          .kernel = {w[1], w[2]},
          .stride = options.stride,
          .padding = options.padding,
          .dilation = options.dilation,
          .groups = options.groups};
}

template <class T>
Results run_reference(const Inputs& in, const Conv2dOptions& options) {
  const Conv2dGeometry g = geometry(in, options);
  Results r{empty(in.doutput.shape(), options_of(in.doutput)),
            empty(in.input.shape(), options_of(in.input)),
            empty(in.weight.shape(), options_of(in.weight))};
  const auto* weight = in.weight.data<Compute<T>>();
  cuda::reference::conv2d(in.input.data<T>(), weight,
                          in.bias ? in.bias.data<Compute<T>>() : nullptr, r.output.data<T>(), g);
  cuda::reference::conv2d_backward_input(in.doutput.data<T>(), weight, r.dinput.data<T>(), g);
  cuda::reference::conv2d_backward_weight(in.input.data<T>(), in.doutput.data<T>(),
                                          r.dweight.data<Compute<T>>(), g);
  return r;
}

bool has_tensor_cores() {
  cudaDeviceProp properties{};
  REQUIRE(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
  return properties.major >= 8;
}

/// tolerances of the largest element: of output and dinput, and of dweight.
template <class T>
void check_cases(const std::vector<Case>& cases, double tolerance, double weight_tolerance) {
  for (const Case& c : cases) {
    CAPTURE(c.name);
    const Inputs in = random_inputs(c, dtype_of<T>);
    const Results expected = run_reference<T>(in, c.options), actual = run_ops(in, c.options);
    CHECK(relative_error(actual.output, expected.output) <= tolerance);
    CHECK(relative_error(actual.dinput, expected.dinput) <= tolerance);
    CHECK(relative_error(actual.dweight, expected.dweight) <= weight_tolerance);
  }
}

/// While one is alive, float32 products may take TF32.
struct AllowTf32 {
  AllowTf32() { allow_tf32(true); }
  ~AllowTf32() { allow_tf32(false); }
};

/// x as float64 on the CPU.
Tensor exact(const Tensor& x) { return x.to(Device::cpu).to(DType::float64); }

/// float32 with the mantissa's 13 last bits gone: rounded, ties away from zero, or dropped.
Tensor to_tf32(const Tensor& x, bool round) {
  std::vector<float> values = x.to(Device::cpu).to_vector<float>();
  for (float& value : values) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    value = std::bit_cast<float>((bits + (round ? 0x1000u : 0u)) & ~0x1FFFu);
  }
  return from_vector(values, x.shape());
}

/// Each pass has only the rounding error of its results against float64, in each element, and the
/// same bits when it is repeated: in bfloat16, or in TF32 for float32.
void check_implicit_gemm(const Case& c, DType dtype) {
  const AllowTf32 allow;
  const Inputs in = random_inputs(c, dtype);
  CHECK(cuda::implicit_gemm::suits(geometry(in, c.options)) == has_tensor_cores());
  const Results actual = run_ops(in, c.options), again = run_ops(in, c.options);
  const auto rounded = [&](const Tensor& x, bool round) {
    return exact(dtype == DType::float32 ? to_tf32(x, round) : x.to(dtype));
  };
  const Tensor bias = in.bias ? exact(in.bias) : Tensor(), weight = rounded(in.weight, true);
  // Of float32, warpgroups drop bits of the first factor, and of the input where weights' gradients
  // are made (1x1: by warps).
  const bool drops = cuda::implicit_gemm::uses_warpgroups();
  const bool drops_for_dweight = drops && c.weight[1] == 3;
  const Results expected =
      run_ops({rounded(in.input, !drops), weight, bias, rounded(in.doutput, !drops)}, c.options);
  const Tensor dweight =
      conv2d_backward_weight(rounded(in.input, !drops_for_dweight), rounded(in.doutput, true),
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
  check(actual.dweight, again.dweight, dweight, 1e-6, 1e-6);
}

/// L X L^T, row-major
template <class L>
std::vector<double> both_sides(const std::vector<double>& x) {
  std::vector<double> y(L::rows * L::rows);
  for (int i = 0; i < L::rows; ++i) {
    for (int j = 0; j < L::rows; ++j) {
      for (int r = 0; r < L::columns; ++r) {
        for (int s = 0; s < L::columns; ++s) {
          y[i * L::rows + j] += L::at(i, r) * x[r * L::columns + s] * L::at(j, s);
        }
      }
    }
  }
  return y;
}

}  // namespace

TEST_CASE("Winograd's matrices make a convolution of a product") {
  using w = gradus::winograd::Filtering;
  const Shape tile{w::tile_side, w::tile_side}, filter_shape{w::taps, w::taps};
  const auto d = random_tensor<double>(tile, 1).to_vector<double>();
  const auto g = random_tensor<double>(filter_shape, 2).to_vector<double>();
  std::vector<double> product = both_sides<typename w::InputMatrix>(d);
  const std::vector<double> filter = both_sides<typename w::WeightMatrix>(g);
  for (int f = 0; f < w::frequencies; ++f) product[f] *= filter[f];
  const std::vector<double> y = both_sides<typename w::OutputMatrix>(product);
  std::vector<double> expected;
  for (int p = 0; p < w::output_side; ++p) {
    for (int q = 0; q < w::output_side; ++q) {
      double sum = 0;
      for (int r = 0; r < w::taps; ++r) {
        for (int s = 0; s < w::taps; ++s) {
          sum += d[(p + r) * w::tile_side + q + s] * g[r * w::taps + s];
        }
      }
      expected.push_back(sum);
    }
  }
  CHECK(relative_error(y, expected) <= 1e-14);
}

TEST_CASE("convolution by Winograd matches the reference kernels") {
  for (const Case& c : winograd_cases) {
    CAPTURE(c.name);
    CHECK(cuda::winograd::suits(geometry(random_inputs(c, DType::float32), c.options)));
  }
  check_cases<float>(winograd_cases, 4e-6, 4e-6);
  check_cases<double>(winograd_cases, 8e-15, 8e-15);
}

TEST_CASE("convolution by columns matches the reference kernels") {
  for (const Case& c : other_cases) {
    CAPTURE(c.name);
    CHECK_FALSE(cuda::winograd::suits(geometry(random_inputs(c, DType::float32), c.options)));
  }
  check_cases<float>(other_cases, 1e-6, 1e-6);
  check_cases<double>(other_cases, 4e-15, 4e-15);
}

TEST_CASE("convolution of bfloat16 matches the reference kernels") {
  // The weight is rounded to bfloat16 (2^-9) and so is the result; sums over columns of dinput are
  // of rounded terms.
  check_cases<BFloat16>(winograd_cases, 0x1p-7, 1e-5);
  check_cases<BFloat16>(other_cases, 0x1p-7, 1e-5);
}

TEST_CASE("convolution by implicit GEMM rounds its inputs and results, and nothing else") {
  const OneOrder one_order;
  for (const DType dtype : {DType::bfloat16, DType::float32}) {
    CAPTURE(name(dtype));
    for (const Case& c : implicit_gemm_cases) {
      CAPTURE(c.name);
      check_implicit_gemm(c, dtype);
    }
  }
}

TEST_CASE("convolution by implicit GEMM of warpgroups is as exact") {
  const OneOrder one_order;
  const bool before = cuda::implicit_gemm::allow_warpgroups(true);
  if (cuda::implicit_gemm::uses_warpgroups()) {
    for (const DType dtype : {DType::bfloat16, DType::float32}) {
      CAPTURE(name(dtype));
      for (const Case& c : warpgroup_cases) {
        CAPTURE(c.name);
        check_implicit_gemm(c, dtype);
      }
    }
  }
  cuda::implicit_gemm::allow_warpgroups(before);
}

TEST_CASE("convolution by implicit GEMM takes the statistics of its output on the way") {
  const OneOrder one_order;
  const AllowTf32 allow;
  for (const bool warpgroups : {false, true}) {
    const bool before = cuda::implicit_gemm::allow_warpgroups(warpgroups);
    for (const DType dtype : {DType::bfloat16, DType::float32}) {
      CAPTURE(name(dtype));
      for (const Case& c : warpgroup_cases) {
        CAPTURE(c.name);
        const Inputs in = random_inputs(c, dtype);
        const Tensor output = conv2d(in.input, in.weight, {}, c.options);
        const auto [y, statistics] = conv2d_with_statistics(in.input, in.weight, c.options);
        const BatchStatistics expected = batch_norm_statistics(exact(output));
        CHECK(same_bits(y, output));
        CHECK(relative_error(statistics.mean, expected.mean) <= 1e-6);
        CHECK(relative_error(statistics.variance, expected.variance) <= 1e-6);
      }
    }
    cuda::implicit_gemm::allow_warpgroups(before);
  }
}

TEST_CASE("implicit GEMM counts a multiply-add for each output, tap and channel") {
  if (!has_tensor_cores()) return;
  const Case c{"", {2, 8, 8, 64}, {128, 3, 3, 64}, {.stride = 2, .padding = 1}};
  const Inputs in = random_inputs(c, DType::bfloat16);
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
  const Case c{"", {1, 3, 4, 64}, {64, 3, 3, 64}, {.padding = 1}, false};
  const Inputs in = random_inputs(c, DType::bfloat16);
  const auto shifted =
      [](const Tensor& x) {  // the same elements, 2 bytes behind a 16-byte boundary
        const Tensor flat = x.reshape({x.numel()});
        const Tensor longer = concat({flat.slice(0, 1), flat});
        return longer.slice(1, x.numel() + 1).reshape(x.shape());
      };
  const Results expected = run_reference<BFloat16>(in, c.options);
  const Results actual =
      run_ops({shifted(in.input), in.weight, {}, shifted(in.doutput)}, c.options);
  CHECK(relative_error(actual.output, expected.output) <= 0x1p-7);
  CHECK(relative_error(actual.dinput, expected.dinput) <= 0x1p-7);
  CHECK(relative_error(actual.dweight, expected.dweight) <= 1e-6);
}

TEST_CASE("Winograd's rounding error in the layers of ResNet-18 stays below 2.5e-6") {
  const OneOrder one_order;
  struct Layer {
    std::int64_t N, side, channels;
  };
  for (const auto& [N, side, channels] :
       {Layer{1, 32, 64}, {1, 16, 128}, {2, 8, 256}, {4, 4, 512}}) {
    CAPTURE(channels);
    const Case c{"", {N, side, side, channels}, {channels, 3, 3, channels}, {.padding = 1}, false};
    const Inputs in = random_inputs(c, DType::float32);
    const Results actual = run_ops(in, c.options);
    const Results expected =
        run_ops({exact(in.input), exact(in.weight), {}, exact(in.doutput)}, c.options);
    const std::array errors{rms_error(actual.output, expected.output),
                            rms_error(actual.dinput, expected.dinput),
                            rms_error(actual.dweight, expected.dweight)};
    MESSAGE(channels << " channels: " << errors[0] << " " << errors[1] << " " << errors[2]);
    for (const double error : errors) CHECK(error < 2.5e-6);
  }
}

TEST_CASE("Winograd's products take a quarter of the multiplications") {
  const Case c{"", {2, 8, 8, 16}, {32, 3, 3, 16}, {.padding = 1}};
  const Inputs in = random_inputs(c, DType::float32);
  const cuda::Profile profile(false);
  run_ops(in, c.options);
  double flops = 0;
  for (const cuda::ProfileEntry& entry : profile.entries()) {
    if (entry.name.ends_with("product")) flops += entry.work.flops;
  }
  CHECK(flops == 3 * 2.0 * (2 * 8 * 8) * 32 * (9 * 16) / 4);
}

TEST_CASE("products of more than cuBLAS can address are refused") {
  const float* none = nullptr;
  float* result = nullptr;
  const std::int64_t large = std::int64_t{1} << 31;
  const auto message = [&](const cuda::GemmShape& shape) {
    return error_of([&] { cuda::gemm("product", shape, none, none, result); });
  };
  CHECK(message({.m = 1, .n = 1, .k = large, .lda = large, .ldb = 1, .ldc = 1}) ==
        "[cuda] a matrix's side, row stride or batch must be below 2^31; got 2147483648; use "
        "smaller pieces");
  CHECK(message({.m = 1, .n = 1, .k = 1, .lda = 1, .ldb = 1, .ldc = 1, .batch = large})
            .find("2147483648") != std::string::npos);
  CHECK(message({.m = 0, .n = large, .k = 1, .lda = 1, .ldb = large, .ldc = large}).empty());
}
