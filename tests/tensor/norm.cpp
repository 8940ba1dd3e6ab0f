#include <doctest/doctest.h>

#include <cmath>
#include <utility>

#include <gradus/tensor/ops_fused.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/simd_levels.h"

using namespace gradus;
using namespace gradus::test;

namespace {

constexpr double eps = 1e-5;

struct Reference {
  std::vector<double> mean, variance, y, dx, frozen_dx, dgamma, dbeta;
};

/// Batch norm as its formulas read, x [rows, C]; statistics from x itself.
Reference reference(const Tensor& x_in, const Tensor& dy_in, const Tensor& gamma_in,
                    const Tensor& beta_in) {
  const std::int64_t C = x_in.size(-1), rows = x_in.numel() / C;
  const auto x = doubles_of(x_in), dy = doubles_of(dy_in);
  const auto gamma = doubles_of(gamma_in), beta = doubles_of(beta_in);
  const std::vector<double> per_channel(gamma.size()), per_element(x.size());
  Reference r{per_channel, per_channel, per_element, per_element,
              per_element, per_channel, per_channel};
  const double n = double(rows);
  for (std::int64_t c = 0; c < C; ++c) {
    long double mean = 0, variance = 0;
    for (std::int64_t i = 0; i < rows; ++i) mean += x[i * C + c];
    mean /= n;
    for (std::int64_t i = 0; i < rows; ++i) {
      variance += (x[i * C + c] - mean) * (x[i * C + c] - mean);
    }
    variance /= n;
    r.mean[c] = double(mean);
    r.variance[c] = double(variance);
    const double deviation = std::sqrt(r.variance[c] + eps);
    for (std::int64_t i = 0; i < rows; ++i) {
      const double xhat = double(x[i * C + c] - mean) / deviation;
      r.y[i * C + c] = xhat * gamma[c] + beta[c];
      r.dbeta[c] += dy[i * C + c];
      r.dgamma[c] += dy[i * C + c] * xhat;
    }
    for (std::int64_t i = 0; i < rows; ++i) {
      const double xhat = double(x[i * C + c] - mean) / deviation;
      r.frozen_dx[i * C + c] = gamma[c] / deviation * dy[i * C + c];
      r.dx[i * C + c] =
          gamma[c] / deviation * (dy[i * C + c] - r.dbeta[c] / n - xhat * r.dgamma[c] / n);
    }
  }
  return r;
}

struct Inputs {
  Tensor x, dy, gamma, beta;
};

Inputs random_inputs(const Shape& shape, DType dtype, double mean = 3) {
  Generator generator(11);
  const TensorOptions options = device_options(dtype);
  const Shape channels{shape[-1]};
  const Tensor x = normal(shape, mean, 2, generator, options);
  // Means, and a share of x in dy, so that the sums for mean, dbeta and dgamma do not cancel.
  const Tensor dy = normal(shape, 1, 1, generator, options) + affine(x, 0.25, -0.25 * mean);
  return {x, dy, uniform(channels, 0.5, 1.5, generator, options),
          uniform(channels, -1, 1, generator, options)};
}

const std::vector<Shape> shapes = {
    {1, 1},     {1, 5},    {3, 3},     {7, 1},     {3, 2, 5, 17}, {16, 8},        {5, 9, 7, 6},
    {1027, 33}, {5000, 3}, {3001, 64}, {70, 2048}, {9000, 1},     {2, 32, 32, 64}};

/// A gradient of two terms, a quarter and three quarters of doutput, is that of their sum, but for
/// rounding: of the terms in bfloat16, of the sums in float32.
void check_two_terms(const Tensor& doutput, const Tensor& input, const Tensor& y,
                     const BatchStatistics& statistics, const Tensor& gamma, const Tensor& beta,
                     bool training) {
  const Tensor first = affine(doutput, 0.25, 0), second = affine(doutput, 0.75, 0);
  const BatchNormOptions options{.training = training};
  const auto expected =
      batch_norm_relu_backward(first + second, input, y, statistics, gamma, beta, options);
  const auto actual =
      batch_norm_relu_backward(first, input, y, statistics, gamma, beta, options, second);
  const double tolerance = doutput.dtype() == DType::bfloat16  ? 0x1p-6
                           : doutput.dtype() == DType::float32 ? 1e-6
                                                               : 1e-14;
  CHECK(relative_error(actual.dx, expected.dx) <= tolerance);
  CHECK(relative_error(actual.dgamma, expected.dgamma) <= tolerance);
  CHECK(relative_error(actual.dbeta, expected.dbeta) <= tolerance);
  CHECK(same_bits(actual.dresidual, expected.dresidual));
}

void check_formulas() {
  for (const DType dtype : {DType::float32, DType::float64}) {
    CAPTURE(name(dtype));
    const double tolerance = dtype == DType::float32 ? 2e-6 : 1e-14;
    for (const Shape& shape : shapes) {
      CAPTURE(to_string(shape));
      const auto [x, dy, gamma, beta] = random_inputs(shape, dtype);
      const Shape channels{shape[-1]};
      const Reference expected = reference(x, dy, gamma, beta);
      const auto compare = [&](const Tensor& actual, const std::vector<double>& values) {
        const Tensor wanted = from_vector(values, actual.shape());
        CHECK(relative_error(actual, wanted) <= tolerance);
      };
      const BatchStatistics statistics = batch_norm_statistics(x);
      compare(statistics.mean, expected.mean);
      compare(statistics.variance, expected.variance);
      // One row has no spread: gradients are differences of rounding errors times 1/sqrt(eps).
      if (x.numel() == shape[-1]) continue;
      compare(batch_norm(x, statistics, gamma, beta, {.eps = eps}), expected.y);
      const auto training = batch_norm_backward(dy, x, statistics, gamma, {.eps = eps});
      compare(training.dx, expected.dx);
      compare(training.dgamma, expected.dgamma);
      compare(training.dbeta, expected.dbeta);
      const auto frozen =
          batch_norm_backward(dy, x, statistics, gamma, {.eps = eps, .training = false});
      compare(frozen.dx, expected.frozen_dx);
      CHECK(same_bits(frozen.dgamma, training.dgamma));
      CHECK(same_bits(frozen.dbeta, training.dbeta));
    }
  }
}

void check_fusion() {
  for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    CAPTURE(name(dtype));
    const double tolerance = dtype == DType::float32   ? 1e-6
                             : dtype == DType::float64 ? 1e-14
                                                       : 4e-3;
    for (const Shape& shape : shapes) {
      if (shape[0] == 1) continue;
      CAPTURE(to_string(shape));
      const DType compute = compute_dtype(dtype);
      const auto [x, dy, gamma, beta] = random_inputs(shape, compute);
      const Tensor input = x.to(dtype), residual = affine(dy, 0.5, 0.25).to(dtype);
      const Tensor doutput = dy.to(dtype);
      const BatchStatistics statistics = batch_norm_statistics(input.to(compute));
      const auto close = [&](const Tensor& actual, const Tensor& expected) {
        CHECK(relative_error(actual, expected) <= tolerance);
      };
      close(batch_norm_statistics(input).mean, statistics.mean);
      close(batch_norm_statistics(input).variance, statistics.variance);
      const Tensor normalised = batch_norm(input.to(compute), statistics, gamma, beta);
      const Tensor plain = batch_norm(input, statistics, gamma, beta);
      CHECK(plain.dtype() == dtype);
      close(plain, normalised);
      for (const bool with_residual : {false, true}) {
        CAPTURE(with_residual);
        const Tensor y = batch_norm_relu(input, statistics, gamma, beta, {},
                                         with_residual ? residual : Tensor());
        CHECK(y.dtype() == dtype);
        close(y, relu(with_residual ? normalised + residual.to(compute) : normalised));

        const Tensor zero = zeros({}, options_of(dy));
        const Tensor masked = where(greater(y.to(compute), zero), doutput.to(compute), zero);
        for (const bool training : {false, true}) {
          const auto wanted = batch_norm_backward(masked, input.to(compute), statistics, gamma,
                                                  {.training = training});
          const auto actual =
              batch_norm_relu_backward(doutput, input, with_residual ? y : Tensor(), statistics,
                                       gamma, beta, {.training = training});
          close(actual.dx, wanted.dx);
          close(actual.dgamma, wanted.dgamma);
          close(actual.dbeta, wanted.dbeta);
          if (with_residual) check_two_terms(doutput, input, y, statistics, gamma, beta, training);
          CHECK(actual.dgamma.dtype() == compute);
          CHECK(actual.dresidual.defined() == with_residual);
          if (with_residual) CHECK(same_bits(actual.dresidual, masked.to(dtype)));
          const auto of_plain = batch_norm_backward(masked.to(dtype), input, statistics, gamma,
                                                    {.training = training});
          close(of_plain.dx, wanted.dx);
          close(of_plain.dgamma, wanted.dgamma);
          close(of_plain.dbeta, wanted.dbeta);
        }
      }
    }
  }
}

/// backward(dy) has the same bits in the memory of dy, which the member `taken` of its result
/// takes.
template <class Backward, class Member>
void check_in_place(const Tensor& dy, const Backward& backward, const Member taken) {
  const auto expected = backward(dy);
  CHECK((expected.*taken).raw() != dy.raw());
  Tensor own = dy.clone();
  const void* const memory = std::as_const(own).raw();
  const auto actual = backward(std::move(own));
  CHECK((actual.*taken).raw() == memory);
  CHECK(same_bits(actual.*taken, expected.*taken));
  CHECK(same_bits(actual.dx, expected.dx));
  CHECK(same_bits(actual.dgamma, expected.dgamma));
  CHECK(same_bits(actual.dbeta, expected.dbeta));
}

void check_gradients_in_place() {
  for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    CAPTURE(name(dtype));
    const auto [x, dy, scale, shift] = random_inputs({5, 7, 3, 24}, compute_dtype(dtype));
    const Tensor input = x.to(dtype), doutput = dy.to(dtype), gamma = scale, beta = shift;
    const BatchStatistics statistics = batch_norm_statistics(input);
    check_in_place(
        doutput,
        [&](Tensor g) { return batch_norm_backward(std::move(g), input, statistics, gamma); },
        &BatchNormGradients::dx);
    const auto with_relu = [&](const Tensor& y) {
      return [&, y](Tensor g) {
        return batch_norm_relu_backward(std::move(g), input, y, statistics, gamma, beta);
      };
    };
    check_in_place(doutput, with_relu({}), &BatchNormReluGradients::dx);
    const Tensor y = batch_norm_relu(input, statistics, gamma, beta, {}, doutput);
    check_in_place(doutput, with_relu(y), &BatchNormReluGradients::dresidual);
    const auto as_second_term = [&](Tensor g) {
      return batch_norm_relu_backward(doutput, input, y, statistics, gamma, beta, {}, std::move(g));
    };
    check_in_place(doutput, as_second_term, &BatchNormReluGradients::dx);
  }
}

}  // namespace

TEST_CASE("batch norm and its gradients match their formulas") {
  if (test_device() == Device::cuda) return check_formulas();
  at_each_simd_level(check_formulas);
}

TEST_CASE("batch norm's gradients take the memory of one that nobody else holds") {
  if (test_device() == Device::cuda) return check_gradients_in_place();
  at_each_simd_level(check_gradients_in_place);
}

TEST_CASE("fused ReLU and residual match the composed operations") {
  if (test_device() == Device::cuda) return check_fusion();
  at_each_simd_level(check_fusion);
}

TEST_CASE("a fused ReLU lets NaN through") {
  const BatchStatistics statistics{zeros({2}, device_options()), ones({2}, device_options())};
  const Tensor x = device_vector<float>({NAN, -1, 2, NAN}, {2, 2});
  const auto y = batch_norm_relu(x, statistics, statistics.variance, statistics.mean, {.eps = 0})
                     .to_vector<float>();
  CHECK(std::isnan(y[0]));
  CHECK(y[1] == 0);
  CHECK(y[2] == 2);
  CHECK(std::isnan(y[3]));
}

TEST_CASE("running statistics move in place and count the batch") {
  for (const DType dtype : {DType::float32, DType::float64}) {
    const TensorOptions options = device_options(dtype);
    for (const std::int64_t C : {1, 3, 1000}) {
      Tensor mean = full({C}, 4, options), variance = full({C}, 2, options);
      Tensor count = full({}, 6, device_options(DType::int64));
      const void* const before = mean.raw();
      batch_norm_track(mean, variance, count, {full({C}, 8, options), full({C}, 3, options)}, 4,
                       0.25);
      CHECK(same_bits(mean, full({C}, 5, options)));        // 3/4 4 + 1/4 8
      CHECK(same_bits(variance, full({C}, 2.5, options)));  // 3/4 2 + 1/4 3 4/3
      CHECK(count.item<std::int64_t>() == 7);
      CHECK(mean.raw() == before);
    }
  }
  const TensorOptions options = device_options();
  Tensor mean = zeros({3}, options), variance = ones({3}, options);
  Tensor count = zeros({}, device_options(DType::int64));
  CHECK(error_of([&] {
          batch_norm_track(mean, variance, count, {mean, ones({2}, options)}, 4, 0.1);
        }) == "[batch_norm_track] the batch's variance must have shape [3]; got [2]");
  CHECK(error_of([&] {
          batch_norm_track(mean, variance, count, {mean, variance}, 1, 0.1);
        }) == "[batch_norm_track] an unbiased variance needs at least 2 rows; got 1");
}

TEST_CASE("one row normalises to beta") {
  const auto [x, dy, gamma, beta] = random_inputs({1, 6}, DType::float32);
  const BatchStatistics statistics = batch_norm_statistics(x);
  CHECK(same_bits(statistics.mean, x.reshape({6})));
  CHECK(same_bits(statistics.variance, zeros({6})));
  CHECK(same_bits(batch_norm(x, statistics, gamma, beta, {.eps = eps}), beta.reshape({1, 6})));
}

TEST_CASE("the variance survives a mean that is large beside it") {
  // E[x^2] - mean^2 would lose every digit: mean^2 / variance is 1e8.
  const auto [x, dy, gamma, beta] = random_inputs({20000, 3}, DType::float32, 20000);
  const Reference expected = reference(x, dy, gamma, beta);
  const Tensor variance = from_vector(expected.variance, {3});
  CHECK(relative_error(batch_norm_statistics(x).variance, variance) <= 5e-7);
}

TEST_CASE("batch norm of an empty evaluation batch is empty, its parameter gradients are zero") {
  const TensorOptions options = device_options();
  const Tensor x = zeros({0, 4}, options), gamma = ones({4}, options), beta = zeros({4}, options);
  const BatchStatistics statistics{beta, gamma};
  CHECK(batch_norm(x, statistics, gamma, beta).shape() == Shape{0, 4});
  const auto gradients = batch_norm_backward(x, x, statistics, gamma, {.training = false});
  CHECK(same_bits(gradients.dgamma, zeros({4})));
  CHECK(same_bits(gradients.dbeta, zeros({4})));
}

TEST_CASE("batch norm gives the same bits for any number of threads" * cpu_only()) {
  const auto [x, dy, gamma, beta] = random_inputs({40, 13, 11, 48}, DType::float32);
  const auto run = [&, x = x, dy = dy, gamma = gamma, beta = beta] {
    const BatchStatistics statistics = batch_norm_statistics(x);
    const auto [dx, dgamma, dbeta] = batch_norm_backward(dy, x, statistics, gamma, {.eps = eps});
    return std::vector<Tensor>{statistics.mean,
                               statistics.variance,
                               batch_norm(x, statistics, gamma, beta, {.eps = eps}),
                               dx,
                               dgamma,
                               dbeta};
  };
  const auto one = with_threads(1, run);
  for (const int threads : {2, 3}) {
    const auto several = with_threads(threads, run);
    for (std::size_t i = 0; i < one.size(); ++i) CHECK(same_bits(one[i], several[i]));
  }
}

TEST_CASE("batch norm says what is wrong with its arguments") {
  const Tensor x = zeros({4, 3}), c = ones({3});
  const BatchStatistics statistics{c, c};
  CHECK(error_of([&] {
          batch_norm_statistics(zeros({0, 3}));
        }) == "[batch_norm_statistics] x must not be empty: it has no mean; got [0, 3]");
  CHECK(error_of([&] { batch_norm_statistics(zeros({3})); }) ==
        "[batch_norm_statistics] x must have at least two axes, channels last; got [3]");
  CHECK(error_of([&] { batch_norm(x, statistics, ones({4}), c); }) ==
        "[batch_norm] gamma must have shape [3]; got [4]");
  CHECK(error_of([&] {
          batch_norm(x, {c, {}}, c, c);
        }) == "[batch_norm] variance is undefined (it was never given a value)");
  CHECK(error_of([&] { batch_norm(x, statistics, c, c.to(DType::float64)); }) ==
        "[batch_norm] x and beta must have one dtype; got float32 and float64");
  CHECK(error_of([&] { batch_norm(x, statistics, c, c, {.eps = -1}); }) ==
        "[batch_norm] eps must be finite and not negative; got -1");
  CHECK(error_of([&] {
          batch_norm_relu(x, statistics, c, c, {}, zeros({4, 2}, options_of(x)));
        }) == "[batch_norm] residual must have shape [4, 3]; got [4, 2]");
  CHECK(error_of([&] {
          batch_norm(x.to(DType::bfloat16), statistics, c.to(DType::bfloat16), c);
        }) == "[batch_norm] gamma must be float32 where x is bfloat16; got bfloat16");
  CHECK(error_of([&] {
          batch_norm_backward(zeros({3, 3}), x, statistics, c);
        }) == "[batch_norm_backward] dy must have shape [4, 3]; got [3, 3]");
  CHECK(error_of([&] {
          batch_norm_relu_backward(x, x, zeros({4, 2}), statistics, c, c);
        }) == "[batch_norm_backward] y must have shape [4, 3]; got [4, 2]");
  CHECK(error_of([&] { batch_norm_relu_backward(x, x, {}, statistics, c, c, {}, x); }) ==
        "[batch_norm_backward] a second term of the gradient needs y");
  CHECK(error_of([&] {
          batch_norm_relu_backward(x, x, x, statistics, c, c, {}, zeros({4, 2}));
        }) == "[batch_norm_backward] dy2 must have shape [4, 3]; got [4, 2]");
}
