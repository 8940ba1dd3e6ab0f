// Updates against a plain loop over their formulas, in both types and in sizes of all kinds.
#include <doctest/doctest.h>

#include <cmath>

#include <gradus/optim/adam.h>
#include "optim/internal/updates.h"
#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/near.h"
#include "tests/support/numbers.h"

using namespace gradus;
using namespace gradus::optim;
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
template <std::size_t slots, class Update>
void update_one(const UpdateTensors& trainee, const Update& update, const Tensor& guard = {}) {
  apply_updates<slots>(std::span(&trainee, 1),
                       DeviceArray<Update>({update}, trainee.parameter.device()), guard);
}

}  // namespace

TEST_CASE_TEMPLATE("SGD follows its formula over several steps", T, float, double) {
  for (const SgdUpdate& rule :
       {SgdUpdate{.lr = 0.1}, SgdUpdate{.lr = 0.1, .weight_decay = 0.01},
        SgdUpdate{.lr = 0.1, .momentum = 0.9},
        SgdUpdate{.lr = 0.1, .weight_decay = 0.01, .q = 0.5, .momentum = 0.9},
        SgdUpdate{.lr = 0.1, .weight_decay = 0.01, .momentum = 0.9, .nesterov = true}}) {
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
        SgdUpdate update = rule;
        update.first = step == 0;
        if (momentum.defined()) {
          update_one<1>({parameter, gradient, {momentum}}, update);
        } else {
          update_one<0>({parameter, gradient}, update);
        }
        const auto g = doubles<T>(gradient);
        for (std::size_t i = 0; i < p.size(); ++i) {
          const double d = rule.q * (g[i] + rule.weight_decay * p[i]);
          m[i] = step == 0 || rule.momentum == 0 ? d : rule.momentum * m[i] + d;
          p[i] -= rule.lr * (rule.nesterov ? d + rule.momentum * m[i] : m[i]);
        }
      }
      CHECK(relative_error(parameter, from_vector(p, {n})) <= tolerance<T>);
      if (momentum.defined()) CHECK(relative_error(momentum, from_vector(m, {n})) <= tolerance<T>);
    }
  }
}

TEST_CASE_TEMPLATE("Adam follows its formula over several steps", T, float, double) {
  constexpr double lr = 0.01;
  struct Case {
    Adam::Options rule;
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
        update_one<2>({parameter, gradient, {mean, square}}, AdamUpdate(rule, lr, decay, step));
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
  const auto norm = [](const Tensor& gradient) {
    Variable variable(zeros(gradient.shape(), options_of(gradient)), true);
    variable.set_grad(gradient);
    return clip_grad_norm({{"x", &variable}}, INFINITY).item<double>();
  };
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
    update_one<1>({parameter, gradient, {momentum}},
                  SgdUpdate{.lr = 0.1, .weight_decay = 0.1, .momentum = 0.9});
    update_one<2>({parameter, gradient, {mean, square}}, AdamUpdate({}, 1e-3, 0, 1));
    return parameter;
  };
  CHECK(same_bits(with_threads(1, op), with_threads(2, op)));
}

TEST_CASE("updates check their arguments") {
  const Tensor p = zeros({2}), g = zeros({2}), buffer = zeros({2}), other = zeros({3}), none;
  const Tensor wide = zeros({2}, {DType::float64});
  const SgdUpdate sgd{.momentum = 0.9};
  const AdamUpdate adam({}, 0.1, 0, 1);
  CHECK_ERROR(update_one<1>({p, other, {buffer}}, sgd),
              "[sgd_update] gradient must have shape [2]; got [3]");
  CHECK_ERROR(update_one<1>({p, wide, {buffer}}, sgd),
              "[sgd_update] gradient and parameter must have one dtype");
  CHECK_ERROR(update_one<1>({p, g}, sgd), "[sgd_update] its state must be 1 tensors; got 0");
  CHECK_ERROR(update_one<1>({p, g, {none}}, sgd), "[sgd_update] its state is undefined");
  CHECK_ERROR(update_one<1>({p, g, {other}}, sgd), "[sgd_update] its state must have shape");
  CHECK_ERROR(update_one<2>({p, g, {buffer, other}}, adam),
              "[adam_update] its state must have shape [2]; got [3]");
  CHECK_ERROR(update_one<2>({p, g, {buffer, wide}}, adam),
              "[adam_update] its state and parameter must have one dtype");
  CHECK_ERROR(update_one<2>({p, g, {buffer, buffer}}, adam, zeros({2})),
              "[adam_update] guard must have one element; got shape [2]");
  CHECK_ERROR(update_one<2>({p, g, {buffer, buffer}}, adam, zeros({}, {DType::float64})),
              "[adam_update] parameter and guard must have one dtype");

  UpdateTensors trainees[] = {{p, g, {buffer, buffer}}, {p, g, {buffer, buffer}}};
  CHECK_ERROR(apply_updates<2>(trainees, DeviceArray<AdamUpdate>({adam}, Device::cpu)),
              "[adam_update] each of the 2 parameters on cpu needs an update; got 1 on cpu");
  trainees[1].parameter = wide;
  CHECK_ERROR(apply_updates<2>(trainees, DeviceArray<AdamUpdate>({adam, adam}, Device::cpu)),
              "[adam_update] the first parameter and parameter must have one dtype");
  Variable narrow(p, true), x(wide, true);
  narrow.set_grad(g);
  x.set_grad(wide);
  CHECK_ERROR(clip_grad_norm({{"narrow", &narrow}, {"x", &x}}, 1),
              "[clip_grad_norm] the first gradient and gradient must have one dtype");
  CHECK_ERROR(clip_grad_norm({{"x", &x}}, 0), "[clip_grad_norm] max_norm must be positive; got 0");
}

TEST_CASE("updates count as changes of what they write, and of nothing else") {
  const auto some = [] { return ones({3}, device_options()); };
  const UpdateTensors adam{some(), some(), {some(), some()}};
  const std::uint64_t before = adam.parameter.version(), gradient = adam.gradient.version();
  const std::uint64_t mean = adam.state[0].version(), square = adam.state[1].version();
  update_one<2>(adam, AdamUpdate({}, 1e-3, 0, 1));
  CHECK(adam.parameter.version() > before);
  CHECK(adam.state[0].version() > mean);
  CHECK(adam.state[1].version() > square);
  CHECK(adam.gradient.version() == gradient);

  Variable x(some(), true);
  x.set_grad(some());
  const std::uint64_t unclipped = x.grad().version();
  clip_grad_norm({{"x", &x}}, 1);
  CHECK(x.grad().version() > unclipped);
}
