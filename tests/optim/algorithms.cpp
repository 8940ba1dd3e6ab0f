// Every algorithm against a plain loop over its published formula, several steps long.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include <gradus/optim/adam.h>
#include <gradus/optim/lars.h>
#include <gradus/optim/muon.h>
#include <gradus/optim/sgd.h>
#include <gradus/tensor/random.h>
#include "tests/support/device.h"
#include "tests/support/near.h"

using namespace gradus;
using namespace gradus::optim;
using namespace gradus::test;

namespace {

using Vector = std::vector<double>;

constexpr int steps = 5;
constexpr std::size_t rows = 3, columns = 5;

double lr_of(int step) { return 0.1 / (1 + step); }

Vector random_values(std::uint64_t seed) {
  Generator generator(seed);
  return uniform({rows * columns}, -1, 1, generator, {DType::float64}).to_vector<double>();
}

/// A [3, 5] parameter `p`, given a fresh gradient before each step.
class Trainee {
 public:
  Trainee() : variable_(device_vector<double>(random_values(1), {rows, columns}), true) {}

  std::vector<ParameterGroup> groups(double weight_decay, bool adapt = true) {
    return {{.parameters = {{"p", &variable_}}, .weight_decay = weight_decay, .adapt = adapt}};
  }
  static Vector gradient(int step) { return random_values(100 + static_cast<std::uint64_t>(step)); }

  Vector run(Optimizer& optimizer) {
    for (int t = 0; t < steps; ++t) {
      variable_.set_grad(device_vector<double>(gradient(t), {rows, columns}));
      optimizer.step(lr_of(t));
      CHECK(variable_.grad().to_vector<double>() == gradient(t));  // left intact
    }
    return variable_.value().to_vector<double>();
  }

 private:
  Variable variable_;
};

/// The parameter after `update(p, g, lr, t)` with t = 0, 1, ...
Vector reference(const std::function<void(Vector& p, const Vector& g, double lr, int t)>& update) {
  Vector p = random_values(1);
  for (int t = 0; t < steps; ++t) update(p, Trainee::gradient(t), lr_of(t), t);
  return p;
}

void check_equal(const Vector& actual, const Vector& expected) {
  REQUIRE(actual.size() == expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    CHECK(actual[i] == near(expected[i], 4e-14));
  }
}

double norm_of(const Vector& x) {
  double sum = 0;
  for (const double value : x) sum += value * value;
  return std::sqrt(sum);
}

}  // namespace

TEST_CASE("SGD") {
  for (const double momentum : {0.0, 0.9}) {
    for (const bool nesterov : {false, true}) {
      if (nesterov && momentum == 0) continue;
      for (const double decay : {0.0, 0.01}) {
        CAPTURE(momentum);
        CAPTURE(nesterov);
        CAPTURE(decay);
        Trainee trainee;
        Sgd sgd(trainee.groups(decay), {.momentum = momentum, .nesterov = nesterov});
        Vector m(rows * columns);
        const Vector expected = reference([&](Vector& p, const Vector& g, double lr, int) {
          for (std::size_t i = 0; i < p.size(); ++i) {
            const double d = g[i] + decay * p[i];
            m[i] = momentum * m[i] + d;
            p[i] -= lr * (nesterov ? d + momentum * m[i] : m[i]);
          }
        });
        check_equal(trainee.run(sgd), expected);
      }
    }
  }
}

TEST_CASE("Adam, and with decoupled weight decay") {
  constexpr double beta1 = 0.8, beta2 = 0.95, eps = 1e-3, decay = 0.1;
  for (const bool decoupled : {false, true}) {
    CAPTURE(decoupled);
    Trainee trainee;
    const Adam::Options options{.beta1 = beta1, .beta2 = beta2, .eps = eps, .decoupled = decoupled};
    Vector m(rows * columns), v(rows * columns);
    const Vector expected = reference([&](Vector& p, const Vector& g, double lr, int t) {
      for (std::size_t i = 0; i < p.size(); ++i) {
        const double d = decoupled ? g[i] : g[i] + decay * p[i];
        if (decoupled) p[i] -= lr * decay * p[i];
        m[i] = beta1 * m[i] + (1 - beta1) * d;
        v[i] = beta2 * v[i] + (1 - beta2) * d * d;
        const double m_hat = m[i] / (1 - std::pow(beta1, t + 1));
        const double v_hat = v[i] / (1 - std::pow(beta2, t + 1));
        p[i] -= lr * m_hat / (std::sqrt(v_hat) + eps);
      }
    });
    Adam adam(trainee.groups(decay), options);
    check_equal(trainee.run(adam), expected);
  }
}

TEST_CASE("LARS in both forms") {
  constexpr double momentum = 0.9, decay = 0.02, eps = 0.01;
  for (const bool separate : {false, true}) {
    for (const bool clip : {false, true}) {
      for (const auto& [trust, nesterov] :  // with 5 the clip is in force
           {std::pair{0.02, false}, {5.0, false}, {0.02, true}, {5.0, true}}) {
        CAPTURE(nesterov);
        CAPTURE(separate);
        CAPTURE(clip);
        CAPTURE(trust);
        const Lars::Options options{
            .form = separate ? LarsForm::separate_norms : LarsForm::decayed_gradient,
            .momentum = momentum,
            .nesterov = nesterov,
            .trust = trust,
            .eps = eps,
            .clip = clip};
        Trainee trainee;
        Lars lars(trainee.groups(decay), options);
        Vector m(rows * columns);
        const Vector expected = reference([&](Vector& p, const Vector& g, double lr, int) {
          Vector d = g;
          for (std::size_t i = 0; i < d.size(); ++i) d[i] += decay * p[i];
          double ratio = trust * norm_of(p) / norm_of(d);
          if (separate) {
            ratio = trust * norm_of(p) / (norm_of(g) + decay * norm_of(p) + eps);
            if (clip) ratio = std::min(ratio / lr, 1.0);
          }
          for (std::size_t i = 0; i < p.size(); ++i) {
            m[i] = momentum * m[i] + ratio * d[i];
            p[i] -= lr * (nesterov ? ratio * d[i] + momentum * m[i] : m[i]);
          }
        });
        check_equal(trainee.run(lars), expected);
      }
    }
  }
}

TEST_CASE("LARS without adaptation is SGD with momentum") {
  for (const LarsForm form : {LarsForm::decayed_gradient, LarsForm::separate_norms}) {
    Trainee adapted, plain;
    Lars lars(adapted.groups(0.01, false), {.form = form});
    Sgd sgd(plain.groups(0.01), {.momentum = 0.9});
    check_equal(adapted.run(lars), plain.run(sgd));
  }
}

TEST_CASE("LARS where a norm is zero: ratio 1, and separate_norms drops the decay") {
  struct Case {
    LarsForm form;
    double p, g, expected, decay = 0.1;
  };
  constexpr double lr = 0.5;
  for (const Case& c :
       {Case{LarsForm::decayed_gradient, 0, 3, -lr * 3},
        // |g + w p| = 0.2 > 0: adapted as ever, d = 0.001 |p| = 0.002
        Case{LarsForm::decayed_gradient, 2, 0, 2 - lr * 0.002},
        // |g + w p| = 0
        Case{LarsForm::decayed_gradient, 2, 0, 2, 0}, Case{LarsForm::decayed_gradient, 0, 0, 0},
        Case{LarsForm::separate_norms, 0, 3, -lr * 3}, Case{LarsForm::separate_norms, 2, 0, 2},
        Case{LarsForm::separate_norms, 0, 0, 0}}) {
    CAPTURE(c.p);
    CAPTURE(c.g);
    CAPTURE(c.decay);
    Variable p(full({1, 1}, c.p, device_options(DType::float64)), true);
    p.set_grad(full({1, 1}, c.g, device_options(DType::float64)));
    Lars lars({{.parameters = {{"p", &p}}, .weight_decay = c.decay}}, {.form = c.form});
    lars.step(lr);
    CHECK(p.value().item<double>() == near(c.expected, 1e-15));
  }
}

TEST_CASE("a learning rate of 0 changes nothing") {
  for (const LarsForm form : {LarsForm::decayed_gradient, LarsForm::separate_norms}) {
    Variable p(ones({2, 2}, device_options()), true);
    p.set_grad(ones({2, 2}, device_options()));
    Lars lars({{.parameters = {{"p", &p}}, .weight_decay = 0.1}}, {.form = form});
    lars.step(0);
    CHECK(p.value().to_vector<float>() == std::vector<float>(4, 1.0F));
  }
}

TEST_CASE("options out of range are errors") {
  Trainee trainee;
  CHECK_THROWS_AS(Sgd(trainee.groups(0), {.momentum = -1}), Error);
  CHECK_THROWS_AS(Sgd(trainee.groups(0), {.nesterov = true}), Error);
  CHECK_THROWS_AS(Sgd(trainee.groups(-1), {}), Error);
  CHECK_THROWS_AS(Adam(trainee.groups(0), {.beta1 = 1}), Error);
  CHECK_THROWS_AS(Adam(trainee.groups(0), {.eps = -1}), Error);
  CHECK_THROWS_AS(Lars(trainee.groups(0), {.trust = 0}), Error);
  CHECK_THROWS_AS(Lars(trainee.groups(0), {.momentum = 0, .nesterov = true}), Error);
  CHECK_THROWS_AS(Muon(trainee.groups(0), {.momentum = 0}), Error);
  CHECK_THROWS_AS(Muon(trainee.groups(0), {.trust = 0}), Error);
  CHECK_THROWS_AS(Muon(trainee.groups(0), {.iterations = 0}), Error);
  for (const double bad : {-1.0, double{NAN}, double{INFINITY}}) {
    CHECK_THROWS_AS(Sgd(trainee.groups(0), {.momentum = bad}), Error);
    CHECK_THROWS_AS(Adam(trainee.groups(0), {.beta2 = bad}), Error);
    CHECK_THROWS_AS(Adam(trainee.groups(0), {.eps = bad}), Error);
    CHECK_THROWS_AS(Lars(trainee.groups(0), {.momentum = bad}), Error);
    CHECK_THROWS_AS(Lars(trainee.groups(0), {.trust = bad}), Error);
    CHECK_THROWS_AS(Lars(trainee.groups(0), {.eps = bad}), Error);
    CHECK_THROWS_AS(Muon(trainee.groups(0), {.momentum = bad}), Error);
    CHECK_THROWS_AS(Muon(trainee.groups(0), {.trust = bad}), Error);
  }
}
