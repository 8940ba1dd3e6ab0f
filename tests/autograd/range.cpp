// Values and gradients where a square or a product on the way would leave the range of float32.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include <gradus/autograd/ops.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/near.h"

using namespace gradus;
using namespace gradus::test;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

Tensor scalar(double value, DType dtype = DType::float32) {
  return full({}, value, device_options(dtype));
}
double value_of(const Tensor& x) { return doubles_of(x)[0]; }

/// The gradient of f at x, given that of f's value.
template <class F>
double gradient(F f, double x, double doutput, DType dtype = DType::float32) {
  const Variable variable(scalar(x, dtype), true);
  f(variable).backward(scalar(doutput, dtype));
  return value_of(variable.grad());
}

}  // namespace

TEST_CASE("the gradient of a quotient") {
  const auto of_divisor = [](double a, double b, double doutput, DType dtype) {
    return gradient([=](const Variable& x) { return Variable(scalar(a, dtype)) / x; }, b, doutput,
                    dtype);
  };
  for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    CAPTURE(name(dtype));
    const double epsilon = dtype == DType::bfloat16 ? 0x1p-8 : 5e-7;
    CHECK(of_divisor(1e20, 1e20, 1, dtype) / -1e-20 == near(1, epsilon));
    CHECK(of_divisor(1e-30, 1e-30, 1, dtype) / -1e30 == near(1, epsilon));
    CHECK(of_divisor(1e-30, 1e-30, 0, dtype) == 0);
    CHECK(of_divisor(3, -2, 1, dtype) == -0.75);
  }
  CHECK(of_divisor(1e200, 1e200, 1, DType::float64) / -1e-200 == near(1, 1e-15));
  // Neither dy / b nor dy y must be in range.
  struct Case {
    double a, b, doutput, expected;
  };
  for (const auto& [a, b, doutput, expected] : {Case{1e38, 1e3, 1e4, -1e36},
                                                {1e-20, 1e-10, 1e-37, -1e-37},
                                                {1e-12, 1e-6, 1e-34, -1e-34},
                                                {1e-38, 1e-30, 1e10, -1e32},
                                                {1e30, 1e20, 1e-25, -1e-35},
                                                {1e38, 1e20, 1e-28, -1e-30}}) {
    CAPTURE(a);
    CHECK(of_divisor(a, b, doutput, DType::float32) / expected == near(1, 5e-7));
  }
  CHECK(of_divisor(0, 1e-39, 1, DType::float32) == 0);
  CHECK(of_divisor(0, 1e-30, 1e10, DType::float32) == 0);
}

TEST_CASE("gradients of squares and powers") {
  const auto squared = [](const Variable& x) { return square(x); };
  CHECK(gradient(squared, 3e38, 0) == 0);
  CHECK(gradient(squared, 3e38, 1e-10) == near(6e28));
  const auto cubed = [](const Variable& x) { return pow(x, 3); };
  CHECK(gradient(cubed, 1e-18, 2e38) == near(6e2));
  const auto inverse = [](const Variable& x) { return pow(x, -1); };
  CHECK(gradient(inverse, 1e18, 3e38) == near(-3e2));
}

TEST_CASE("a tensor divided by a number is divided, not multiplied by its inverse") {
  for (const double tiny : {1e-39, 1e-45}) {
    const Tensor x = scalar(tiny);
    const double divisor = value_of(x);
    CHECK(value_of(x / divisor) == 1);
    CHECK(value_of((Variable(x) / divisor).value()) == 1);
    const auto divided = [=](const Variable& v) { return v / divisor; };
    CHECK(gradient(divided, tiny, divisor) == 1);
  }
  CHECK(value_of(scalar(3e38) / 3e38) == near(1));
  CHECK(value_of(scalar(1) / 0.0) == infinity);
  CHECK(std::isnan(value_of(scalar(0) / 0.0)));
  const Tensor sevenths = device_vector<float>({1, 2, 3, 4, 5, 6}, {6}) / 7;
  const auto values = sevenths.to_vector<float>();
  for (int i = 0; i < 6; ++i) CHECK(values[static_cast<std::size_t>(i)] == float(i + 1) / 7.0f);
  const Tensor x64 = scalar(5e-324, DType::float64);
  CHECK(value_of(x64 / 5e-324) == 1);
}

TEST_CASE("zero keeps its sign") {
  for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    CAPTURE(name(dtype));
    const Tensor zero = scalar(0, dtype), minus = scalar(-0.0, dtype);
    const auto negative = [](const Tensor& x) { return std::signbit(value_of(x)); };
    CHECK(negative(minus));
    CHECK(negative(-zero));
    CHECK_FALSE(negative(-minus));
    CHECK(negative(minus * 2));
    CHECK(negative(2 * minus));
    CHECK(negative(zero * -2));
    CHECK_FALSE(negative(zero * 2));
    CHECK(negative(minus / 2));
    CHECK(negative(minus - 0));
    CHECK(negative((-Variable(zero)).value()));
    CHECK(negative((Variable(minus) * 3).value()));
    CHECK_FALSE(negative((1.0 - Variable(scalar(1, dtype))).value()));
    const auto negated = [](const Variable& x) { return -x; };
    CHECK(std::signbit(gradient(negated, 1, 0, dtype)));
  }
}

TEST_CASE("cross entropy of large logits has the gradient of their differences") {
  for (const double large : {1e4, 1e7, -1e8, 1e30}) {
    CAPTURE(large);
    const Variable logits(full({1, 2}, large, device_options()), true);
    softmax_cross_entropy(logits, device_vector<std::int64_t>({0}, {1}))
        .backward(ones({1}, device_options()));
    CHECK(doubles_of(logits.grad()) == std::vector<double>{-0.5, 0.5});
  }
}

TEST_CASE("the gradient of variance: of bfloat16 far from zero, and where it is not a number") {
  const Variable x(device_vector<double>({256, 258}, {2}).to(DType::bfloat16), true);
  variance(x).backward();
  CHECK(doubles_of(x.grad()) == std::vector<double>{-2, 2});
  const Variable two(device_vector<double>({1, 3}, {2}), true);
  const Variable undefined = variance(two, {}, {.correction = 3});
  CHECK(std::isnan(value_of(undefined.value())));
  undefined.backward();
  for (const double d : doubles_of(two.grad())) CHECK(std::isnan(d));
}

TEST_CASE("cross entropy beside logits of -infinity") {
  const std::vector<double> values = {1,         -infinity, 2, 3,  //
                                      -infinity, -infinity, 0, 1,  //
                                      1,         -infinity, 2, -infinity};
  const Tensor labels = device_vector<std::int64_t>({0, 3, 3}, {3});
  for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    CAPTURE(name(dtype));
    const double epsilon = dtype == DType::bfloat16 ? 0x1p-8 : 5e-7;
    const Variable logits(device_vector(values, {3, 4}).to(dtype), true);
    const Variable losses = softmax_cross_entropy(logits, labels);
    const auto loss = doubles_of(losses.value());
    CHECK(loss[0] == near(2.4076059644, epsilon));  // log(e + e^2 + e^3) - 1
    CHECK(loss[1] == near(std::log1p(std::exp(-1)), epsilon));
    CHECK(loss[2] == infinity);  // the label itself is impossible
    losses.backward(ones({3}, device_options(compute_dtype(dtype))));
    const auto dlogits = doubles_of(logits.grad());
    const double sum = std::exp(-2) + std::exp(-1) + 1;
    CHECK(dlogits[0] == near(std::exp(-2) / sum - 1, epsilon));
    CHECK(dlogits[1] == 0);
    CHECK(dlogits[3] == near(1 / sum, epsilon));
    CHECK(dlogits[4] == 0);
    CHECK(dlogits[11] == -1);
    for (const double d : dlogits) CHECK(std::isfinite(d));

    // With smoothing every class counts: an impossible one costs infinity, as PyTorch has it.
    const Tensor finite = full({1, 4}, 0.5, device_options(dtype));
    const Tensor first = device_vector<std::int64_t>({0}, {1});
    CHECK(value_of(softmax_cross_entropy(logits.value().slice(0, 1), first, 0.1)) == infinity);
    CHECK(value_of(softmax_cross_entropy(finite, first, 1)) == near(std::log(4.0), epsilon));
  }
}
