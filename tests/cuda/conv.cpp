// Convolution on the GPU: each way of computing it against the plain reference kernels, and how
// exact Winograd's is.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include <gradus/tensor/ops.h>
#include "tensor/backend/winograd_matrices.h"
#include "tensor/cuda/conv/winograd.h"
#include "tensor/cuda/gemm/gemm.h"
#include "tensor/cuda/runtime/runtime.h"
#include "tests/cuda/conv_cases.h"
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"

using namespace gradus;
using namespace gradus::test;

namespace {

/// Outputs of up to 4x4 are one tile; 16 channels are the fewest that take Winograd's way.
const std::vector<ConvCase> winograd_cases = {
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

const std::vector<ConvCase> other_cases = {
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

/// tolerances of the largest element: of output and dinput, and of dweight.
template <class T>
void check_cases(const std::vector<ConvCase>& cases, double tolerance, double weight_tolerance) {
  for (const ConvCase& c : cases) {
    CAPTURE(c.name);
    const ConvInputs in = random_inputs(c, dtype_of<T>);
    const ConvResults expected = run_reference<T>(in, c.options), actual = run_ops(in, c.options);
    CHECK(relative_error(actual.output, expected.output) <= tolerance);
    CHECK(relative_error(actual.dinput, expected.dinput) <= tolerance);
    CHECK(relative_error(actual.dweight, expected.dweight) <= weight_tolerance);
  }
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
  for (const ConvCase& c : winograd_cases) {
    CAPTURE(c.name);
    CHECK(cuda::winograd::suits(geometry(random_inputs(c, DType::float32), c.options)));
  }
  check_cases<float>(winograd_cases, 4e-6, 4e-6);
  check_cases<double>(winograd_cases, 8e-15, 8e-15);
}

TEST_CASE("convolution by columns matches the reference kernels") {
  for (const ConvCase& c : other_cases) {
    CAPTURE(c.name);
    CHECK_FALSE(cuda::winograd::suits(geometry(random_inputs(c, DType::float32), c.options)));
  }
  check_cases<float>(other_cases, 1e-6, 1e-6);
  check_cases<double>(other_cases, 4e-15, 4e-15);
}

TEST_CASE("convolution of bfloat16 matches the reference kernels") {
  // The weight is rounded to bfloat16 (2^-8) and so is the result; sums over columns of dinput are
  // of rounded terms.
  check_cases<BFloat16>(winograd_cases, 0x1p-7, 1e-5);
  check_cases<BFloat16>(other_cases, 0x1p-7, 1e-5);
}

TEST_CASE("Winograd's rounding error in the layers of ResNet-18 stays below 2.5e-6") {
  const OneOrder one_order;
  struct Layer {
    std::int64_t N, side, channels;
  };
  for (const auto& [N, side, channels] :
       {Layer{1, 32, 64}, {1, 16, 128}, {2, 8, 256}, {4, 4, 512}}) {
    CAPTURE(channels);
    const ConvCase c{
        "", {N, side, side, channels}, {channels, 3, 3, channels}, {.padding = 1}, false};
    const ConvInputs in = random_inputs(c, DType::float32);
    const ConvResults actual = run_ops(in, c.options);
    const ConvResults expected =
        run_ops({exact(in.input), exact(in.weight), {}, exact(in.doutput)}, c.options);
    const std::array errors{rms_error(actual.output, expected.output),
                            rms_error(actual.dinput, expected.dinput),
                            rms_error(actual.dweight, expected.dweight)};
    MESSAGE(channels << " channels: " << errors[0] << " " << errors[1] << " " << errors[2]);
    for (const double error : errors) CHECK(error < 2.5e-6);
  }
}

TEST_CASE("Winograd's products take a quarter of the multiplications") {
  const ConvCase c{"", {2, 8, 8, 16}, {32, 3, 3, 16}, {.padding = 1}};
  const ConvInputs in = random_inputs(c, DType::float32);
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
