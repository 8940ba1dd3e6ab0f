#include <gradus/optim/optimizer.h>

#include <doctest/doctest.h>

#include <cmath>

#include <gradus/autograd/ops.h>
#include <gradus/optim/adam.h>
#include <gradus/optim/lars.h>
#include <gradus/optim/sgd.h>
#include <gradus/tensor/ops.h>
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/near.h"

using namespace gradus;
using namespace gradus::optim;
using namespace gradus::test;

namespace {

/// A matrix and a bias, with gradients of ones.
struct Layer {
  Variable weight{ones({2, 3}, device_options()), true};
  Variable bias{ones({3}, device_options()), true};

  std::vector<NamedParameter> parameters() { return {{"fc.weight", &weight}, {"fc.bias", &bias}}; }
  void give_gradients(double value = 1) {
    weight.set_grad(full({2, 3}, value, device_options()));
    bias.set_grad(full({3}, value, device_options()));
  }
};

std::vector<float> values(const Variable& x) { return x.value().to_vector<float>(); }

std::map<std::string, std::vector<float>> cloned(const OptimizerState& state) {
  std::map<std::string, std::vector<float>> copy;
  for (const auto& [name, tensor] : state) {
    const bool counter = tensor.dtype() == DType::int64;
    copy[name] = counter ? std::vector<float>{static_cast<float>(tensor.item<std::int64_t>())}
                         : tensor.to_vector<float>();
  }
  return copy;
}

OptimizerState snapshot(const Optimizer& optimizer) {
  OptimizerState copy;
  for (const auto& [name, tensor] : optimizer.state()) copy[name] = tensor.clone();
  return copy;
}

}  // namespace

TEST_CASE("groups: biases and norms get neither decay nor adaptation") {
  Layer layer;
  const auto groups = exclude_biases_and_norms(layer.parameters(), 0.5);
  REQUIRE(groups.size() == 2);
  REQUIRE(groups[0].parameters.size() == 1);
  CHECK(groups[0].parameters[0].name == "fc.weight");
  CHECK(groups[0].weight_decay == 0.5);
  CHECK(groups[0].adapt);
  REQUIRE(groups[1].parameters.size() == 1);
  CHECK(groups[1].parameters[0].name == "fc.bias");
  CHECK(groups[1].weight_decay == 0);
  CHECK_FALSE(groups[1].adapt);
}

TEST_CASE("each group has its decay and its share of the learning rate") {
  Layer layer;
  layer.give_gradients();
  Sgd sgd({{.parameters = {{"w", &layer.weight}}, .weight_decay = 0.5},
           {.parameters = {{"b", &layer.bias}}, .lr_scale = 0.25}},
          {});
  sgd.step(0.5);
  CHECK(values(layer.weight) == std::vector<float>(6, 1 - 0.5F * 1.5F));
  CHECK(values(layer.bias) == std::vector<float>(3, 1 - 0.125F));
}

TEST_CASE("parameters alone are one group; a step takes the options' learning rate") {
  const auto same = [](auto make, double lr) {
    Layer given, from_options;
    given.give_gradients();
    from_options.give_gradients();
    make(one_group(given.parameters()), 7.0)->step(lr);
    make(from_options.parameters(), lr)->step();
    CHECK(values(given.weight) != std::vector<float>(6, 1));
    CHECK(values(from_options.weight) == values(given.weight));
    CHECK(values(from_options.bias) == values(given.bias));
  };
  same([](auto p, double lr) { return std::make_unique<Sgd>(p, Sgd::Options{.lr = lr}); }, 0.5);
  same([](auto p, double lr) { return std::make_unique<Adam>(p, Adam::Options{.lr = lr}); }, 0.5);
  same(
      [](auto p, double lr) {
        return std::make_unique<Adam>(p, Adam::Options{.lr = lr, .decoupled = true});
      },
      0.5);
  same([](auto p, double lr) { return std::make_unique<Lars>(p, Lars::Options{.lr = lr}); }, 0.5);
}

TEST_CASE("bad groups and learning rates are errors") {
  Layer layer;
  CHECK_THROWS_WITH_AS(
      Sgd({{.parameters = {{"w", &layer.weight}}}, {.parameters = {{"w", &layer.bias}}}}, {}),
      "[optimizer] the parameter w is given twice", Error);
  CHECK_THROWS_AS(Sgd(std::vector<ParameterGroup>{}, {}), Error);
  for (const double bad : {-1.0, double{NAN}, double{INFINITY}}) {
    CHECK_THROWS_AS(Sgd(one_group(layer.parameters(), bad), {}), Error);
    CHECK_THROWS_AS(Sgd({{.parameters = layer.parameters(), .lr_scale = bad}}, {}), Error);
  }
  Variable tied(layer.weight.value(), true);  // as after a move that moved nothing
  CHECK_THROWS_WITH_AS(Sgd(one_group({{"w", &layer.weight}, {"tied", &tied}}, 0), {}),
                       "[optimizer] the parameters w and tied share their elements", Error);
  CHECK_THROWS_WITH_AS(Sgd(one_group({{"w", &layer.weight}, {"tied", &layer.weight}}, 0), {}),
                       "[optimizer] the parameters w and tied share their elements", Error);
  Variable frozen(ones({2}, device_options()));
  CHECK_THROWS_WITH_AS(Sgd(one_group({{"a", &frozen}, {"b", &frozen}}, 0), {}),
                       "[optimizer] the parameters a and b share their elements", Error);
  Sgd sgd(layer.parameters(), {});
  CHECK_THROWS_AS(sgd.step(NAN), Error);
  CHECK_THROWS_AS(sgd.step(-1), Error);
  CHECK(sgd.step_count() == 0);
}

TEST_CASE("a parameter without a gradient keeps its value and starts late") {
  Layer layer;
  Variable frozen(ones({2}, device_options()));
  auto parameters = layer.parameters();
  parameters.push_back({"frozen", &frozen});
  Adam adam(one_group(parameters, 0.1), {});
  layer.weight.set_grad(ones({2, 3}, device_options()));
  adam.step(0.01);
  adam.step(0.01);
  CHECK(values(layer.bias) == std::vector<float>(3, 1.0F));
  CHECK(values(frozen) == std::vector<float>(2, 1.0F));
  CHECK_FALSE(adam.state().contains("step.fc.bias"));

  // Its first update is a first step: |dp| = lr, whatever the gradient's size.
  layer.give_gradients(100);
  adam.step(0.01);
  CHECK(values(layer.bias)[0] == near(1 - 0.01, 1e-7));
  CHECK(adam.state().at("step.fc.bias").item<std::int64_t>() == 1);
  CHECK(adam.state().at("step.fc.weight").item<std::int64_t>() == 3);
  CHECK(adam.step_count() == 3);
  adam.zero_grad();
  CHECK_FALSE(layer.weight.grad().defined());
}

TEST_CASE("a step that throws is not made") {
  Layer layer, other;
  Adam adam(layer.parameters(), {}), undisturbed(other.parameters(), {});
  const auto fail = [&] {
    CHECK_THROWS_AS(adam.step(0.1, ones({}, device_options(DType::float64))), Error);
  };
  layer.give_gradients(1);
  other.give_gradients(1);
  fail();
  CHECK(adam.step_count() == 0);
  CHECK(adam.state().size() == 1);
  for (int i = 1; i <= 2; ++i) {
    adam.step(0.1);
    undisturbed.step(0.1);
    fail();
    CHECK(adam.step_count() == i);
    CHECK(adam.state().at("step.fc.weight").item<std::int64_t>() == i);
    CHECK(values(layer.weight) == values(other.weight));
  }
}

TEST_CASE("a restored optimiser continues bit by bit") {
  Layer a, b;
  Adam first(one_group(a.parameters(), 0.1), {});
  for (int t = 0; t < 3; ++t) {
    a.give_gradients(0.3 + t);
    first.step(0.01);
  }
  const OptimizerState saved = snapshot(first);
  CHECK(saved.contains("exp_avg.fc.weight"));
  CHECK(saved.contains("exp_avg_sq.fc.bias"));
  CHECK(saved.size() == 1 + 2 * 3);

  Adam second(one_group(b.parameters(), 0.1), {});
  b.weight.value().copy_from(a.weight.value());
  b.bias.value().copy_from(a.bias.value());
  const auto before = cloned(saved);
  second.load_state(saved);
  CHECK(second.step_count() == 3);
  for (Layer* layer : {&a, &b}) layer->give_gradients(-2);
  first.step(0.02);
  second.step(0.02);
  CHECK(values(a.weight) == values(b.weight));
  CHECK(values(a.bias) == values(b.bias));
  CHECK(cloned(first.state()) == cloned(second.state()));
  CHECK(cloned(first.state()).at("exp_avg.fc.weight") != before.at("exp_avg.fc.weight"));
  CHECK(cloned(saved) == before);  // no step writes into what was loaded
}

TEST_CASE("an optimiser can go back to one state again and again") {
  Layer layer;
  layer.give_gradients();
  Adam adam(layer.parameters(), {});
  adam.step(0.01);
  const OptimizerState saved = snapshot(adam);
  const auto before = cloned(saved);
  for (int i = 0; i < 2; ++i) {
    CAPTURE(i);
    adam.step(0.01);
    adam.load_state(saved);
    CHECK(cloned(adam.state()) == before);
  }
  // Parameters without an entry start afresh.
  adam.step(0.01);
  adam.load_state({{"step_count", saved.at("step_count")}});
  REQUIRE(adam.state().size() == 1);
  adam.step(0.01);
  auto expected = before;
  expected["step_count"] = {2};
  CHECK(cloned(adam.state()) == expected);
}

TEST_CASE("a state that does not fit is refused and changes nothing") {
  Layer layer;
  layer.give_gradients();
  Adam adam(layer.parameters(), {});
  adam.step(0.01);
  const auto before = cloned(adam.state());
  OptimizerState state = snapshot(adam);
  SUBCASE("missing") {
    state.erase("exp_avg.fc.bias");
    CHECK_THROWS_WITH_AS(adam.load_state(state), "[load_state] the state lacks exp_avg.fc.bias",
                         Error);
  }
  SUBCASE("shape") {
    state["exp_avg.fc.weight"] = zeros({3, 2});
    CHECK_THROWS_WITH_AS(adam.load_state(state),
                         "[load_state] exp_avg.fc.weight must be float32 of shape [2, 3]; got "
                         "float32 of shape [3, 2]",
                         Error);
  }
  SUBCASE("unknown name") {
    state["exp_avg.head.weight"] = zeros({1});
    CHECK_THROWS_WITH_AS(adam.load_state(state),
                         doctest::Contains("the state holds exp_avg.head.weight"), Error);
  }
  SUBCASE("another algorithm") {
    Sgd sgd(layer.parameters(), {.momentum = 0.9});
    sgd.step(0.01);
    CHECK_THROWS_AS(adam.load_state(sgd.state()), Error);
    CHECK_THROWS_AS(sgd.load_state(adam.state()), Error);
  }
  SUBCASE("no step count") {
    state.erase("step_count");
    CHECK_THROWS_AS(adam.load_state(state), Error);
  }
  SUBCASE("a counter of another type") {
    state["step.fc.bias"] = zeros({});
    CHECK_THROWS_AS(adam.load_state(state), Error);
  }
  CHECK(cloned(adam.state()) == before);
}

TEST_CASE("what is computed from others is no parameter") {
  Layer layer;
  Variable product = layer.weight * 2;
  CHECK_ERROR(Sgd({{"fc.weight", &product}}, {}), "the parameter fc.weight was computed from");
  CHECK_ERROR(Adam(layer.parameters(), {.lr = -1}), "the learning rate must be finite and not neg");
  // Also where it becomes that later; the step is then not made.
  Sgd sgd(layer.parameters(), {.momentum = 0.9});
  layer.give_gradients();
  layer.bias = layer.bias * 2;
  CHECK_ERROR(sgd.step(0.1), "the parameter fc.bias was computed from");
  CHECK(sgd.step_count() == 0);
  CHECK(sgd.state().size() == 1);
  CHECK(values(layer.weight) == std::vector<float>(6, 1));
}

TEST_CASE("clip_grad_norm leaves a gradient that someone holds as it is") {
  Layer layer;
  const Tensor held = full({2, 3}, 2, device_options());
  layer.weight.set_grad(held);
  clip_grad_norm({{"w", &layer.weight}}, 1);
  CHECK(layer.weight.grad().to_vector<float>()[0] == near(2 / (std::sqrt(24.0) + 1e-6)));
  CHECK(held.to_vector<float>() == std::vector<float>(6, 2));
}

TEST_CASE("clip_grad_norm") {
  Layer layer;
  layer.weight.set_grad(full({2, 3}, 2, device_options()));   // 24
  layer.bias.set_grad(device_vector<float>({0, 0, 5}, {3}));  // 25
  Variable unused(ones({2}, device_options()), true);
  auto parameters = layer.parameters();
  parameters.push_back({"unused", &unused});

  CHECK(clip_grad_norm(parameters, 8).item<double>() == near(7, 1e-15));
  CHECK(layer.bias.grad().to_vector<float>()[2] == 5.0F);  // below: untouched
  CHECK(clip_grad_norm(parameters, 3.5).item<double>() == near(7, 1e-15));
  CHECK(layer.bias.grad().to_vector<float>()[2] == near(5 * 3.5 / (7 + 1e-6)));
  CHECK(layer.weight.grad().to_vector<float>()[0] == near(1));
  CHECK_FALSE(unused.grad().defined());

  layer.weight.set_grad(full({2, 3}, INFINITY, device_options()));
  CHECK(std::isinf(clip_grad_norm(parameters, 1).item<double>()));
  CHECK(layer.bias.grad().to_vector<float>()[2] == near(2.5));
  CHECK_THROWS_AS(clip_grad_norm(parameters, 0), Error);
}
