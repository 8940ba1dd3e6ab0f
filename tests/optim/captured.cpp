// Optimisers in captured work: replays with changing learning rates, gradients and losses against
// ordinary steps. On the CPU, where nothing is captured, apply() is tested apart from prepare().
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <memory>

#include <gradus/optim/adam.h>
#include <gradus/optim/lars.h>
#include <gradus/optim/muon.h>
#include <gradus/optim/sgd.h>
#include <gradus/tensor/random.h>
#include <gradus/tensor/repeated_work.h>
#include "tests/support/command.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"

using namespace gradus;
using namespace gradus::optim;
using namespace gradus::test;

namespace {

constexpr int steps = 6;  // two runs, a capture with its replay, and three replays

double lr_of(int step) { return 0.1 / (1 + step); }

Tensor values(const Shape& shape, std::uint64_t seed) {
  Generator generator(seed);
  return uniform(shape, -1, 1, generator);
}

/// A matrix, a convolution, a bias and a parameter that never has a gradient.
struct Model {
  Variable variables[4] = {Variable(on_device(values({17, 65}, 1)), true),
                           Variable(on_device(values({3, 2, 3, 3}, 2)), true),
                           Variable(on_device(values({5}, 3)), true),
                           Variable(on_device(values({2}, 4)), true)};
  Tensor gradients[3];  // of the step to come
  Tensor loss = on_device(from_vector<float>({1}, {}));

  Model() {
    for (int i = 0; i < 3; ++i) gradients[i] = empty(variables[i].shape(), device_options());
  }
  void set_step(int step) {
    for (int i = 0; i < 3; ++i) {
      const auto seed = static_cast<std::uint64_t>(10 * (step + 1) + i);
      gradients[i].copy_from(values(variables[i].shape(), seed));
    }
  }
  void backward() {
    for (int i = 0; i < 3; ++i) variables[i].set_grad(gradients[i].clone());
  }
  std::vector<NamedParameter> parameters() {
    return {{"a.weight", &variables[0]},
            {"b.weight", &variables[1]},
            {"b.bias", &variables[2]},
            {"unused", &variables[3]}};
  }
};

/// Counts its updates, and cannot be recorded.
class Unrecordable : public Optimizer {
 public:
  explicit Unrecordable(std::vector<ParameterGroup> groups)
      : Optimizer(std::move(groups), 0.1, {}) {}
  int made = 0;

 protected:
  void set_updates(const std::vector<Coming>&, Device) override {}
  void update(const std::vector<UpdateTensors>&, const Tensor&) override {
    check(!recording(), "test", "this cannot be recorded");
    ++made;
  }
};

using MakeOptimizer = std::function<std::unique_ptr<Optimizer>(std::vector<ParameterGroup>)>;

template <class T, class Options>
MakeOptimizer maker(const Options& options) {
  return [=](std::vector<ParameterGroup> groups) {
    return std::make_unique<T>(std::move(groups), options);
  };
}

struct Case {
  const char* name;
  MakeOptimizer make;
  double clip = 0;
};

std::vector<Case> cases() {
  return {{"adam", maker<Adam>(Adam::Options{})},
          {"adam, clipped", maker<Adam>(Adam::Options{}), 3},
          {"adamw", maker<Adam>(Adam::Options{.decoupled = true})},
          {"sgd", maker<Sgd>(Sgd::Options{})},
          {"sgd, clipped", maker<Sgd>(Sgd::Options{}), 3},
          {"sgd with momentum", maker<Sgd>(Sgd::Options{.momentum = 0.9})},
          {"lars, decayed_gradient", maker<Lars>(Lars::Options{.trust = 0.02})},
          {"lars, separate_norms",
           maker<Lars>(Lars::Options{.form = LarsForm::separate_norms, .trust = 0.02})},
          {"muon", maker<Muon>(Muon::Options{})}};
}

void check_same(const Model& a, const Model& b) {
  for (int i = 0; i < 4; ++i)
    CHECK(a.variables[i].value().to_vector<float>() == b.variables[i].value().to_vector<float>());
}

void check_same(const OptimizerState& a, const OptimizerState& b) {
  REQUIRE(a.size() == b.size());
  for (const auto& [name, tensor] : a) {
    CAPTURE(name);
    REQUIRE(b.contains(name));
    if (tensor.dtype() == DType::int64) {
      CHECK(tensor.item<std::int64_t>() == b.at(name).item<std::int64_t>());
    } else {
      CHECK(tensor.to_vector<float>() == b.at(name).to_vector<float>());
    }
  }
}

}  // namespace

TEST_CASE("a step whose update cannot be recorded is made nevertheless" * gpu_only()) {
  Model model;
  model.set_step(0);
  Unrecordable optimizer(one_group(model.parameters(), 0));
  RepeatedWork work(test_device(), [&] {
    model.backward();
    optimizer.apply();
  });
  for (int step = 1; step <= steps; ++step) {
    optimizer.prepare(0.1);
    work.run();
    CHECK(optimizer.made == step);
    CHECK(optimizer.step_count() == step);
  }
  CHECK_FALSE(work.replays());
  CHECK(contains(work.failure(), "this cannot be recorded"));
}

TEST_CASE("replayed steps are the ordinary ones") {
  for (const auto& [name, make, clip] : cases()) {
    CAPTURE(name);
    Model ordinary, captured;
    const auto first = make(exclude_biases_and_norms(ordinary.parameters(), 0.05));
    const auto second = make(exclude_biases_and_norms(captured.parameters(), 0.05));
    Tensor norm = empty({}, device_options(DType::float64));
    RepeatedWork work(test_device(), [&, clip = clip] {
      captured.backward();
      if (clip > 0) norm.copy_from(clip_grad_norm(captured.parameters(), clip));
      second->apply(captured.loss);
    });
    for (int step = 0; step < steps; ++step) {
      CAPTURE(step);
      ordinary.set_step(step);
      ordinary.backward();
      double expected_norm = 0;
      if (clip > 0) expected_norm = clip_grad_norm(ordinary.parameters(), clip).item<double>();
      first->step(lr_of(step));

      captured.set_step(step);
      second->prepare(lr_of(step));
      work.run();
      if (clip > 0) {
        CHECK(expected_norm > clip);
        CHECK(norm.item<double>() == expected_norm);
      }
      check_same(ordinary, captured);
      check_same(first->state(), second->state());
    }
    CHECK(work.failure() == "");
    CHECK(work.replays() == (test_device() == Device::cuda));
    CHECK(second->state().at("step.b.bias").item<std::int64_t>() == steps);
    CHECK_FALSE(second->state().contains("step.unused"));
  }
}

TEST_CASE("a loss that is not finite changes no parameter and no state") {
  for (const auto& [name, make, clip] : cases()) {
    CAPTURE(name);
    for (const int broken_step : {1, 4}) {  // in an ordinary run, in a replay
      CAPTURE(broken_step);
      Model ordinary, captured;
      const auto first = make(one_group(ordinary.parameters(), 0.05));
      const auto second = make(one_group(captured.parameters(), 0.05));
      RepeatedWork work(test_device(), [&] {
        captured.backward();
        second->apply(captured.loss);
      });
      for (int step = 0; step <= broken_step; ++step) {
        captured.set_step(step);
        second->prepare(lr_of(step));
        if (step == broken_step) {
          const float loss = step == 1 ? NAN : INFINITY;
          captured.loss.copy_from(from_vector<float>({loss}, {}));
        } else {
          ordinary.set_step(step);
          ordinary.backward();
          first->step(lr_of(step));
        }
        work.run();
      }
      CHECK(work.replays() == (broken_step == 4 && test_device() == Device::cuda));
      check_same(ordinary, captured);
      for (const auto& [key, tensor] : first->state()) {
        if (tensor.dtype() != DType::int64)
          CHECK(tensor.to_vector<float>() == second->state().at(key).to_vector<float>());
      }
    }
  }
}

TEST_CASE("apply() wants prepare() before it") {
  Model model;
  model.set_step(0);
  model.backward();
  Sgd sgd(model.parameters(), {});
  CHECK_ERROR(sgd.apply(), "[optimizer] apply() without prepare() before it");
  sgd.prepare(0.1);
  sgd.apply();
}
