#include <gradus/tensor/optimizer_ops.h>

#include <doctest/doctest.h>

#include <cmath>

#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/near.h"
#include "tests/support/numbers.h"

using namespace gradus;
using namespace gradus::test;

namespace {

constexpr std::int64_t sizes[] = {0, 1, 7, 70'001};

template <class T>
constexpr double tolerance = sizeof(T) == 4 ? 1e-6 : 1.5e-15;

template <class T>
std::vector<double> doubles(const Tensor& x) {
  const auto values = x.to_vector<T>();
  return {values.begin(), values.end()};
}

/// One parameter's update.
void sgd_one(const Tensor& parameter, const Tensor& gradient, const Tensor& momentum,
             const SgdStep& step, const SgdRule& rule) {
  SgdTensors tensors[] = {{parameter, gradient, momentum}};
  sgd_update(tensors, pack_steps(std::vector{step}).to(parameter.device()), rule);
}

void adam_one(const Tensor& parameter, const Tensor& gradient, const Tensor& mean,
              const Tensor& square, const AdamStep& step, const AdamRule& rule) {
  AdamTensors tensors[] = {{parameter, gradient, mean, square}};
  adam_update(tensors, pack_steps(std::vector{step}).to(parameter.device()), rule);
}

}  // namespace

TEST_CASE_TEMPLATE("SGD follows its formula over several steps", T, float, double) {
  struct Case {
    SgdRule rule;
    SgdStep step;
  };
  for (const auto& [rule, options] :
       {Case{{}, {.lr = 0.1}}, Case{{}, {.lr = 0.1, .weight_decay = 0.01}},
        Case{{.momentum = 0.9}, {.lr = 0.1}},
        Case{{.momentum = 0.9}, {.lr = 0.1, .weight_decay = 0.01, .gradient_scale = 0.5}},
        Case{{.momentum = 0.9, .nesterov = true}, {.lr = 0.1, .weight_decay = 0.01}}}) {
    CAPTURE(rule.momentum);
    CAPTURE(rule.nesterov);
    for (std::int64_t n : sizes) {
      CAPTURE(n);
      const Tensor parameter = random_tensor<T>({n}, 1);
      // What the buffer holds before the first step must not matter.
      const Tensor momentum = rule.momentum != 0 ? full({n}, NAN, options_of(parameter)) : Tensor();
      auto p = doubles<T>(parameter);
      std::vector<double> m(p.size(), 0.0);
      for (unsigned step = 0; step < 3; ++step) {
        const Tensor gradient = random_tensor<T>({n}, 10 + step);
        SgdStep update = options;
        update.first = step == 0 ? 1 : 0;
        sgd_one(parameter, gradient, momentum, update, rule);
        const auto g = doubles<T>(gradient);
        for (std::size_t i = 0; i < p.size(); ++i) {
          const double d = options.gradient_scale * (g[i] + options.weight_decay * p[i]);
          m[i] = step == 0 || rule.momentum == 0 ? d : rule.momentum * m[i] + d;
          p[i] -= options.lr * (rule.nesterov ? d + rule.momentum * m[i] : m[i]);
        }
      }
      CHECK(relative_error(parameter, from_vector(p, {n})) <= tolerance<T>);
      if (momentum) CHECK(relative_error(momentum, from_vector(m, {n})) <= tolerance<T>);
    }
  }
}

TEST_CASE_TEMPLATE("Adam follows its formula over several steps", T, float, double) {
  constexpr double lr = 0.01;
  struct Case {
    AdamRule rule;
    double decay;
  };
  for (const auto& [rule, decay] : {Case{{}, 0}, Case{{}, 0.1}, Case{{.decoupled = true}, 0.1},
                                    Case{{.beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3}, 0}}) {
    CAPTURE(decay);
    CAPTURE(rule.decoupled);
    for (std::int64_t n : sizes) {
      CAPTURE(n);
      const Tensor parameter = random_tensor<T>({n}, 1);
      const Tensor mean = zeros({n}, options_of(parameter)), square = mean.clone();
      auto p = doubles<T>(parameter);
      std::vector<double> m(p.size(), 0.0), v(p.size(), 0.0);
      for (int step = 1; step <= 3; ++step) {
        // Away from 0, where a float32 quotient of m and sqrt(v) is well conditioned.
        const Tensor gradient = random_tensor<T>({n}, 10u + static_cast<unsigned>(step), 0.5, 1.5);
        adam_one(parameter, gradient, mean, square, adam_step(rule, lr, decay, step), rule);
        const auto gradients = doubles<T>(gradient);
        for (std::size_t i = 0; i < p.size(); ++i) {
          double g = gradients[i];
          if (rule.decoupled) {
            p[i] -= lr * decay * p[i];
          } else {
            g += decay * p[i];
          }
          m[i] = rule.beta1 * m[i] + (1 - rule.beta1) * g;
          v[i] = rule.beta2 * v[i] + (1 - rule.beta2) * g * g;
          const double first = m[i] / (1 - std::pow(rule.beta1, step));
          const double second = v[i] / (1 - std::pow(rule.beta2, step));
          p[i] -= lr * first / (std::sqrt(second) + rule.eps);
        }
      }
      CHECK(relative_error(parameter, from_vector(p, {n})) <= tolerance<T>);
      CHECK(relative_error(mean, from_vector(m, {n})) <= tolerance<T>);
      CHECK(relative_error(square, from_vector(v, {n})) <= tolerance<T>);
    }
  }
}

TEST_CASE_TEMPLATE("norms are summed in float64", T, float, double) {
  CHECK(norm(device_vector(std::vector<T>{3, -4}, {2})) == near(5, 1e-15));
  CHECK(norm(zeros({0}, device_options())) == 0);
  const Tensor x = random_tensor<T>({100'003}, 1);
  double squares = 0;
  for (const double value : doubles<T>(x)) squares += value * value;
  CHECK(norm(x) == near(std::sqrt(squares), 2e-13));
  const auto op = [&] { return norm(x); };
  CHECK(with_threads(1, op) == with_threads(2, op));
  // In float32 the squares would overflow and vanish.
  if (sizeof(T) == 4) {
    CHECK(norm(full({4}, 1e30, device_options())) == near(2e30));
    CHECK(norm(full({4}, 1e-30, device_options())) == near(2e-30));
  }
}

TEST_CASE("updates do not depend on the number of threads" * cpu_only()) {
  const Tensor gradient = random_tensor<float>({70'001}, 2);
  const auto op = [&] {
    Tensor parameter = random_tensor<float>({70'001}, 1);
    const Tensor momentum = zeros({70'001}), mean = zeros({70'001}), square = zeros({70'001});
    sgd_one(parameter, gradient, momentum, {.weight_decay = 0.1}, {.momentum = 0.9});
    adam_one(parameter, gradient, mean, square, {}, {});
    return parameter;
  };
  CHECK(same_bits(with_threads(1, op), with_threads(2, op)));
}

TEST_CASE("updates check their arguments") {
  const Tensor p = zeros({2}), buffer = zeros({2}), other = zeros({3}), none;
  const Tensor g = zeros({2});
  CHECK_ERROR(sgd_one(p, other, buffer, {}, {}),
              "[sgd_update] gradient must have shape [2]; got [3]");
  CHECK_ERROR(sgd_one(p, zeros({2}, {DType::float64}), buffer, {}, {}),
              "[sgd_update] parameter and gradient must have one dtype");
  CHECK_ERROR(sgd_one(p, g, none, {}, {.momentum = 0.9}), "[sgd_update] momentum is undefined");
  CHECK_ERROR(sgd_one(p, g, other, {}, {.momentum = 0.9}), "[sgd_update] momentum must have shape");
  CHECK_ERROR(adam_one(p, g, none, buffer, {}, {}), "[adam_update] mean is undefined");
  CHECK_ERROR(adam_one(p, g, buffer, other, {}, {}),
              "[adam_update] square must have shape [2]; got [3]");
  CHECK_ERROR(adam_step({}, 0.1, 0, 0), "[adam_step] steps count from 1; got 0");
  CHECK_ERROR(norm(zeros({2}, {DType::int64})),
              "[norm] x must be float32, float64 or bfloat16; got int64");

  AdamTensors tensors[] = {{p, g, buffer, buffer}, {p, g, buffer, buffer}};
  const Tensor steps = pack_steps(std::vector<AdamStep>(2));
  CHECK_ERROR(adam_update(tensors, steps.slice(0, 1), {}),
              "[adam_update] steps must have shape [2, 4]; got [1, 4]");
  CHECK_ERROR(adam_update(tensors, zeros({2, 4}), {}), "[adam_update] steps must be float64");
  CHECK_ERROR(adam_update(tensors, steps, {}, zeros({2})),
              "[adam_update] guard must have one element; got shape [2]");
  CHECK_ERROR(adam_update(tensors, steps, {}, zeros({}, {DType::float64})),
              "[adam_update] parameter and guard must have one dtype");
  tensors[1].parameter = zeros({2}, {DType::float64});
  CHECK_ERROR(adam_update(tensors, steps, {}),
              "[adam_update] the first parameter and parameter must have one dtype");
  Tensor gradients[] = {zeros({2}), zeros({2}, {DType::float64})};
  CHECK_ERROR(clip_norm(gradients, 1),
              "[clip_norm] the first tensor and tensor must have one dtype");
  CHECK_ERROR(clip_norm(gradients, 0), "[clip_norm] max_norm must be positive; got 0");
}
