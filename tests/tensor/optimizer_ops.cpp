#include "tensor/optimizer_ops.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"

using namespace gradus;
using namespace gradus::test;

namespace {

constexpr std::int64_t sizes[] = {0, 1, 7, 70'001};

template <class T>
constexpr double tolerance = sizeof(T) == 4 ? 2e-6 : 1e-14;

template <class T>
std::vector<double> doubles(const Tensor& x) {
  const auto values = x.to_vector<T>();
  return {values.begin(), values.end()};
}

}  // namespace

TEST_CASE_TEMPLATE("SGD follows its formula over several steps", T, float, double) {
  for (const SgdUpdate& options :
       {SgdUpdate{.lr = 0.1}, SgdUpdate{.lr = 0.1, .weight_decay = 0.01},
        SgdUpdate{.lr = 0.1, .momentum = 0.9},
        SgdUpdate{.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01, .gradient_scale = 0.5},
        SgdUpdate{.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true}}) {
    CAPTURE(options.momentum);
    CAPTURE(options.nesterov);
    for (std::int64_t n : sizes) {
      CAPTURE(n);
      Tensor parameter = random_tensor<T>({n}, 1);
      // What the buffer holds before the first step must not matter.
      Tensor momentum = options.momentum != 0 ? full({n}, NAN, options_of(parameter)) : Tensor();
      auto p = doubles<T>(parameter);
      std::vector<double> m(p.size(), 0.0);
      for (unsigned step = 0; step < 3; ++step) {
        const Tensor gradient = random_tensor<T>({n}, 10 + step);
        SgdUpdate update = options;
        update.first_step = step == 0;
        sgd_update(parameter, gradient, momentum, update);
        const auto g = doubles<T>(gradient);
        for (std::size_t i = 0; i < p.size(); ++i) {
          const double d = options.gradient_scale * (g[i] + options.weight_decay * p[i]);
          m[i] = step == 0 || options.momentum == 0 ? d : options.momentum * m[i] + d;
          p[i] -= options.lr * (options.nesterov ? d + options.momentum * m[i] : m[i]);
        }
      }
      CHECK(max_difference(parameter, from_vector(p, {n})) <= tolerance<T>);
      if (momentum) CHECK(max_difference(momentum, from_vector(m, {n})) <= 4 * tolerance<T>);
    }
  }
}

TEST_CASE_TEMPLATE("Adam follows its formula over several steps", T, float, double) {
  for (const AdamUpdate& options :
       {AdamUpdate{.lr = 0.01}, AdamUpdate{.lr = 0.01, .weight_decay = 0.1},
        AdamUpdate{.lr = 0.01, .weight_decay = 0.1, .decoupled = true},
        AdamUpdate{.lr = 0.01, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3}}) {
    CAPTURE(options.weight_decay);
    CAPTURE(options.decoupled);
    for (std::int64_t n : sizes) {
      CAPTURE(n);
      Tensor parameter = random_tensor<T>({n}, 1);
      Tensor mean = zeros({n}, options_of(parameter)), square = mean.clone();
      auto p = doubles<T>(parameter);
      std::vector<double> m(p.size(), 0.0), v(p.size(), 0.0);
      for (int step = 1; step <= 3; ++step) {
        // Away from 0, where a float32 quotient of m and sqrt(v) is well conditioned.
        const Tensor gradient = random_tensor<T>({n}, 10u + static_cast<unsigned>(step), 0.5, 1.5);
        AdamUpdate update = options;
        update.step = step;
        adam_update(parameter, gradient, mean, square, update);
        const auto gradients = doubles<T>(gradient);
        for (std::size_t i = 0; i < p.size(); ++i) {
          double g = gradients[i];
          if (options.decoupled) {
            p[i] -= options.lr * options.weight_decay * p[i];
          } else {
            g += options.weight_decay * p[i];
          }
          m[i] = options.beta1 * m[i] + (1 - options.beta1) * g;
          v[i] = options.beta2 * v[i] + (1 - options.beta2) * g * g;
          const double first = m[i] / (1 - std::pow(options.beta1, step));
          const double second = v[i] / (1 - std::pow(options.beta2, step));
          p[i] -= options.lr * first / (std::sqrt(second) + options.eps);
        }
      }
      CHECK(max_difference(parameter, from_vector(p, {n})) <= tolerance<T>);
      CHECK(max_difference(mean, from_vector(m, {n})) <= tolerance<T>);
      CHECK(max_difference(square, from_vector(v, {n})) <= tolerance<T>);
    }
  }
}

TEST_CASE_TEMPLATE("norms are summed in float64", T, float, double) {
  CHECK(norm(from_vector(std::vector<T>{3, -4}, {2})) == doctest::Approx(5).epsilon(1e-15));
  CHECK(norm(zeros({0})) == 0);
  const Tensor x = random_tensor<T>({100'003}, 1), y = random_tensor<T>({100'003}, 2);
  const auto a = doubles<T>(x), b = doubles<T>(y);
  double squares = 0, combined = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    squares += a[i] * a[i];
    combined += (a[i] - 0.25 * b[i]) * (a[i] - 0.25 * b[i]);
  }
  CHECK(norm(x) == doctest::Approx(std::sqrt(squares)).epsilon(1e-12));
  CHECK(norm(x, y, -0.25) == doctest::Approx(std::sqrt(combined)).epsilon(1e-12));
  const auto op = [&] { return norm(x, y, 0.5); };
  CHECK(with_threads(1, op) == with_threads(2, op));
  // In float32 the squares would overflow and vanish.
  if (sizeof(T) == 4) {
    CHECK(norm(full({4}, 1e30)) == doctest::Approx(2e30).epsilon(1e-6));
    CHECK(norm(full({4}, 1e-30)) == doctest::Approx(2e-30).epsilon(1e-6));
  }
}

TEST_CASE("updates do not depend on the number of threads") {
  const Tensor gradient = random_tensor<float>({70'001}, 2);
  const auto op = [&] {
    Tensor parameter = random_tensor<float>({70'001}, 1), momentum = zeros({70'001});
    Tensor mean = zeros({70'001}), square = zeros({70'001});
    sgd_update(parameter, gradient, momentum, {.momentum = 0.9, .weight_decay = 0.1});
    adam_update(parameter, gradient, mean, square, {});
    return parameter;
  };
  CHECK(same_bits(with_threads(1, op), with_threads(2, op)));
}

TEST_CASE("updates check their arguments") {
  Tensor p = zeros({2}), buffer = zeros({2}), other = zeros({3}), none;
  const Tensor g = zeros({2});
  CHECK_ERROR(sgd_update(p, other, buffer, {}),
              "[sgd_update] gradient must have shape [2]; got [3]");
  CHECK_ERROR(sgd_update(p, none, buffer, {}), "[sgd_update] gradient is undefined");
  CHECK_ERROR(sgd_update(p, zeros({2}, {DType::float64}), buffer, {}),
              "[sgd_update] parameter and gradient must have one dtype");
  CHECK_ERROR(sgd_update(p, g, none, {.momentum = 0.9}), "[sgd_update] momentum is undefined");
  CHECK_ERROR(sgd_update(p, g, other, {.momentum = 0.9}), "[sgd_update] momentum must have shape");
  CHECK_ERROR(adam_update(p, g, none, buffer, {}), "[adam_update] mean is undefined");
  CHECK_ERROR(adam_update(p, g, buffer, other, {}),
              "[adam_update] square must have shape [2]; got [3]");
  CHECK_ERROR(adam_update(p, g, buffer, buffer, {.step = 0}),
              "[adam_update] steps count from 1; got 0");
  CHECK_ERROR(norm(p, other, 1), "[norm] y must have shape [2]; got [3]");
  CHECK_ERROR(norm(p, none, 1), "[norm] y is undefined");
  CHECK_ERROR(norm(zeros({2}, {DType::int64})), "[norm] x must be float32 or float64; got int64");
}
