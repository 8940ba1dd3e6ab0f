// bfloat16 activations beside float32 parameters: types, values and gradients of the ops that take
// them, against the same op in float32 on the same, rounded, numbers.
#include <doctest/doctest.h>

#include <cmath>

#include <gradus/autograd/gradcheck.h>
#include <gradus/autograd/ops.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"

using namespace gradus;
using namespace gradus::test;

namespace {

constexpr double half_ulp = 0x1p-8;  // of bfloat16, with room for a sum's rounding

/// Random numbers that bfloat16 holds exactly, as float32.
Tensor rounded(const Shape& shape, unsigned seed) {
  return on_device(random_tensor<float>(shape, seed)).to(DType::bfloat16).to(DType::float32);
}

struct Result {
  Tensor output, dx, dweight, dbias;
};

/// function(x, weight, bias) forward and backward with x as `dtype`; the output's gradient is
/// rounded to bfloat16 in either case.
template <class Function>
Result run(Function function, const Shape& x_shape, const Shape& weight_shape, DType dtype) {
  const Variable x(rounded(x_shape, 1).to(dtype), true);
  const Variable weight(rounded(weight_shape, 2), true);
  const Variable bias(rounded({weight_shape[0]}, 3), true);
  const Variable y = function(x, weight, bias);
  y.backward(rounded(y.shape(), 4).to(dtype));
  return {y.value(), x.grad(), weight.grad(), bias.grad()};
}

template <class Function>
void check_mixed(Function function, const Shape& x_shape, const Shape& weight_shape) {
  const Result mixed = run(function, x_shape, weight_shape, DType::bfloat16);
  const Result expected = run(function, x_shape, weight_shape, DType::float32);
  CHECK(mixed.output.dtype() == DType::bfloat16);
  CHECK(mixed.dx.dtype() == DType::bfloat16);
  CHECK(mixed.dweight.dtype() == DType::float32);
  CHECK(mixed.dbias.dtype() == DType::float32);
  // On the GPU the product is rounded, and the sum with the bias once more.
  const double output_tolerance = test_device() == Device::cuda ? 2 * half_ulp : half_ulp;
  CHECK(relative_error(mixed.output, expected.output) < output_tolerance);
  CHECK(relative_error(mixed.dx, expected.dx) < half_ulp);
  CHECK(relative_error(mixed.dweight, expected.dweight) < 1e-5);
  CHECK(relative_error(mixed.dbias, expected.dbias) < 1e-5);
}

}  // namespace

TEST_CASE("cast converts values forward and gradients back") {
  const Variable x(on_device(random_tensor<float>({3, 5}, 1)), true);
  const Variable y = cast(x, DType::bfloat16);
  CHECK(y.dtype() == DType::bfloat16);
  CHECK(same_bits(y.value(), x.value().to(DType::bfloat16)));
  const Tensor dy = rounded({3, 5}, 2);
  y.backward(dy.to(DType::bfloat16));
  CHECK(same_bits(x.grad(), dy));
  CHECK(cast(x, DType::float32).node() == x.node());
  CHECK(error_of([&] { cast(x, DType::int64); }).find("only floating types") != std::string::npos);
}

TEST_CASE("conv2d of bfloat16 with float32 parameters") {
  const auto convolve = [](const Conv2dOptions& options) {
    return [options](const Variable& x, const Variable& weight, const Variable& bias) {
      return conv2d(x, weight, bias, options);
    };
  };
  check_mixed(convolve({.padding = 1}), {2, 7, 5, 17}, {19, 3, 3, 17});
  check_mixed(convolve({.stride = 2, .padding = 1}), {2, 8, 9, 6}, {4, 3, 3, 6});
  check_mixed(convolve({}), {2, 5, 6, 24}, {16, 1, 1, 24});
  check_mixed(convolve({.padding = 1, .groups = 2}), {2, 5, 6, 8}, {6, 3, 3, 4});
}

TEST_CASE("conv2d of bfloat16 sums dweight over more images than are converted at once" *
          cpu_only()) {
  const auto function = [](const Variable& x, const Variable& weight, const Variable& bias) {
    return conv2d(x, weight, bias, {.groups = 2});  // by im2col, which converts
  };
  check_mixed(function, {5, 512, 512, 4}, {4, 1, 1, 2});  // 2^20 elements an image, 4 at once
}

TEST_CASE("linear without input features is the bias, whatever the number of axes") {
  const Variable weight(zeros({4, 0}, device_options())), bias(full({4}, 3, device_options()));
  for (const Shape& shape : {Shape{2, 0}, Shape{2, 3, 0}}) {
    Shape expected = shape;
    expected[-1] = 4;
    const Variable y = linear(Variable(zeros(shape, device_options())), weight, bias);
    CHECK(same_bits(y.value(), full(expected, 3, device_options())));
  }
}

TEST_CASE("linear of bfloat16 with float32 parameters") {
  const auto function = [](const Variable& x, const Variable& weight, const Variable& bias) {
    return linear(x, weight, bias);
  };
  check_mixed(function, {7, 33}, {17, 33});
  check_mixed(function, {2, 3, 16}, {8, 16});
}

TEST_CASE("parameters of another type than the activations need are refused") {
  const Variable x(zeros({2, 4, 4, 3}, device_options(DType::bfloat16)));
  const auto conv_error = [&](DType weight, DType bias) {
    return error_of([&] {
      conv2d(x, Variable(zeros({5, 3, 3, 3}, device_options(weight))),
             Variable(zeros({5}, device_options(bias))));
    });
  };
  CHECK(conv_error(DType::float32, DType::float32).empty());
  CHECK(conv_error(DType::bfloat16, DType::float32) ==
        "[conv2d] weight must be float32 where input is bfloat16; got bfloat16");
  CHECK(conv_error(DType::float32, DType::float64) ==
        "[conv2d] bias must be float32 where input is bfloat16; got float64");
  CHECK(error_of([&] {
          linear(x, Variable(zeros({5, 3}, device_options(DType::float64))));
        }) == "[linear] weight and bias must be float32 where x is bfloat16; got float64");
  CHECK(error_of([&] {
          const Variable bytes(zeros({2, 3}, device_options(DType::uint8)));
          linear(bytes, Variable(zeros({5, 3}, device_options())));
        }) == "[linear] x must be float32, float64 or bfloat16; got uint8");
}

TEST_CASE("a product of bfloat16 matrices can be float32") {
  const Variable a(rounded({2, 5, 7}, 1).to(DType::bfloat16), true);
  const Variable b(rounded({2, 7, 3}, 2).to(DType::bfloat16), true);
  const Variable c = matmul(a, b, {.scale = 0.5, .output_dtype = DType::float32});
  const Tensor a_float = a.value().to(DType::float32), b_float = b.value().to(DType::float32);
  CHECK(c.dtype() == DType::float32);
  CHECK(relative_error(c.value(), matmul(a_float, b_float, {.scale = 0.5})) < 5e-7);
  const Tensor dc = rounded({2, 5, 3}, 3);
  c.backward(dc);
  CHECK(a.grad().dtype() == DType::bfloat16);
  const Tensor da = matmul(dc, b_float, {.transpose_b = true, .scale = 0.5});
  CHECK(relative_error(a.grad(), da) < half_ulp);
  CHECK(matmul(a, b).dtype() == DType::bfloat16);
  CHECK(error_of([&] { matmul(a, b, {.output_dtype = DType::float64}); }) ==
        "[matmul] output_dtype must be the inputs' type, or float32 for bfloat16; got float64 for "
        "bfloat16");
}

TEST_CASE("a scaled product has scaled gradients") {
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      const MatmulOptions options{.transpose_a = ta, .transpose_b = tb, .scale = -0.3};
      const GradcheckResult result =
          gradcheck([&](const std::vector<Variable>& in) { return matmul(in[0], in[1], options); },
                    {random_tensor<double>(ta ? Shape{4, 3} : Shape{3, 4}, 1),
                     random_tensor<double>(tb ? Shape{5, 4} : Shape{4, 5}, 2)});
      CHECK_MESSAGE(result, result.message);
    }
  }
}
