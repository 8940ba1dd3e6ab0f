// Optimisers, schedules and clipping against PyTorch and against the published formulas
// (tests/reference/generate_optim.py).
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include <gradus/autograd/ops.h>
#include <gradus/optim/adam.h>
#include <gradus/optim/lars.h>
#include <gradus/optim/muon.h>
#include <gradus/optim/schedule.h>
#include <gradus/optim/sgd.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/near.h"
#include "tests/support/reference.h"

namespace gradus::test {
namespace {

using namespace gradus::optim;

constexpr std::int64_t steps = 10;

const Tensor& expected(const std::string& name) {
  static const TensorFile file = read_reference("optim.safetensors");
  const auto found = file.tensors.find(name);
  REQUIRE_MESSAGE(found != file.tensors.end(), "the reference file lacks " << name);
  return found->second;
}

/// The generator's parameters, with its gradients.
struct Parameters {
  explicit Parameters(DType dtype) {
    const std::vector<std::pair<std::string, Shape>> shapes = {{"weight", {3, 4}},
                                                               {"conv", {2, 3, 3, 2}},
                                                               {"bias", {5}},
                                                               {"scale", {1}},
                                                               {"zero", {2, 2}}};
    for (const auto& [name, shape] : shapes) {
      const double factor = name == "zero" ? 0 : 1;
      variables[name] = Variable(
          on_device(affine(named_uniform("optim/" + name, shape), factor, 0).to(dtype)), true);
    }
  }

  std::vector<NamedParameter> named() {
    std::vector<NamedParameter> result;
    for (auto& [name, variable] : variables) result.push_back({name, &variable});
    return result;
  }

  /// g = p / 2 + noise.
  void set_gradients(std::int64_t step) {
    for (auto& [name, variable] : variables) {
      const Tensor noise =
          named_uniform(fmt::format("optim/{}/noise{}", name, step), variable.shape());
      variable.set_grad(affine(variable.value(), 0.5, 0) + on_device(noise.to(variable.dtype())));
    }
  }

  std::map<std::string, Variable> variables;
};

struct Run {
  std::string name;
  double lr;
  std::function<std::unique_ptr<Optimizer>(std::vector<NamedParameter>)> make;
};

std::vector<Run> runs() {
  using P = std::vector<NamedParameter>;
  const auto sgd = [](double weight_decay, Sgd::Options options) {
    return
        [=](P p) { return std::make_unique<Sgd>(one_group(std::move(p), weight_decay), options); };
  };
  const auto adam = [](double weight_decay, Adam::Options options) {
    return
        [=](P p) { return std::make_unique<Adam>(one_group(std::move(p), weight_decay), options); };
  };
  const auto lars = [](Lars::Options options) {
    return [=](const P& p) {
      return std::make_unique<Lars>(exclude_biases_and_norms(p, 0.1), options);
    };
  };
  const auto muon = [](Muon::Options options) {
    return [=](const P& p) {
      return std::make_unique<Muon>(exclude_biases_and_norms(p, 0.1), options);
    };
  };
  Lars::Options unclipped = {.form = LarsForm::separate_norms, .trust = 0.02};
  unclipped.clip = false;
  return {
      {"sgd", 0.1, sgd(0, {})},
      {"sgd_decay", 0.1, sgd(0.05, {})},
      {"sgd_momentum", 0.1, sgd(0, {.momentum = 0.9})},
      {"sgd_momentum_decay", 0.1, sgd(0.05, {.momentum = 0.8})},
      {"sgd_nesterov", 0.1, sgd(0.02, {.momentum = 0.9, .nesterov = true})},
      {"adam", 0.01, adam(0, {})},
      {"adam_decay", 0.01, adam(0.1, {})},
      {"adam_betas", 0.01, adam(0, {.beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3})},
      {"adamw", 0.01,
       [](P p) {
         return std::make_unique<Adam>(one_group(std::move(p), 0.1),
                                       Adam::Options{.decoupled = true});
       }},
      {"lars_decayed_gradient", 2, lars({})},
      {"lars_separate_norms", 0.1, lars(unclipped)},
      {"lars_clipped", 0.03, lars({.form = LarsForm::separate_norms, .trust = 0.02})},
      {"muon", 0.3, muon({.nesterov = false, .trust = 0.1})},
      {"muon_nesterov", 0.3, muon({.momentum = 0.8, .trust = 0.2, .iterations = 2})},
  };
}

/// `muon_tolerance`: where it multiplies in bfloat16.
void compare_trajectories(DType dtype, double tolerance, double muon_tolerance) {
  for (const Run& run : runs()) {
    const double limit = run.name.starts_with("muon") ? muon_tolerance : tolerance;
    Parameters parameters(dtype);
    const auto optimizer = run.make(parameters.named());
    for (std::int64_t step = 0; step < steps; ++step) {
      parameters.set_gradients(step);
      optimizer->step(run.lr * (1 + static_cast<double>(step) / 10));
      for (const auto& [name, variable] : parameters.variables) {
        CAPTURE(run.name);
        CAPTURE(name);
        CAPTURE(step);
        const Tensor& history = expected(run.name + "/" + name);
        CHECK(history.size(0) == steps);
        const Tensor at_step = history.slice(step, step + 1).reshape(variable.shape());
        CHECK(relative_error(variable.value(), at_step) < limit);
      }
    }
  }
}

TEST_CASE("optimisers follow the reference in float64") {
  compare_trajectories(DType::float64, 5e-15, 1e-13);
}

TEST_CASE("optimisers follow the reference in float32") {
  compare_trajectories(DType::float32, 1.5e-6, 1e-2);
}

TEST_CASE("orthogonalize changes the singular values alone, as the polynomial says") {
  for (const auto& [name, shape, iterations] :
       {std::tuple<const char*, Shape, int>{"wide", {5, 3, 3, 3}, 3},
        {"tall", {23, 2, 3, 1}, 4},
        {"square", {16, 16}, 5},
        {"row", {1, 7}, 3},
        {"column", {7, 1}, 3},
        {"one", {1}, 2}}) {
    CAPTURE(name);
    const Tensor x = named_uniform(std::string("orthogonal/") + name, shape);
    const Tensor& y = expected(std::string("orthogonal/") + name);
    for (const double scale : {1.0, 1e4, 1e-4})
      CHECK(relative_error(orthogonalize(on_device(x * scale), iterations), y) < 1e-12);
    for (const double scale : {1.0, 1e20, 1e-20, 1e-30}) {
      const Tensor scaled = on_device((x * scale).to(DType::float32));
      CHECK(relative_error(orthogonalize(scaled, iterations), y) < 0.1);
    }
  }
  const Tensor none = zeros({3, 4}, device_options());
  CHECK(orthogonalize(none, 3).to_vector<float>() == std::vector<float>(12, 0.0F));
  CHECK(orthogonalize(zeros({0, 4}, device_options()), 3).shape() == Shape{0, 4});
  CHECK_THROWS_AS(orthogonalize(none, 0), Error);
}

TEST_CASE("schedules follow the reference") {
  const std::map<std::string, Schedule> schedules = {
      {"multi_step", step_decay({.lr = 0.1, .milestones = {20, 35}, .factor = 0.1})},
      {"step", step_decay({.lr = 0.2, .milestones = {15, 30, 45}, .factor = 0.5})},
      {"cosine", cosine({.lr = 0.1, .final_lr = 0.002, .total_steps = 50})},
      {"vicreg", cosine({.lr = 0.4, .final_lr = 0.0004, .total_steps = 50, .warmup_steps = 10})},
      {"solo_learn", cosine({.lr = 0.3,
                             .total_steps = 50,
                             .warmup_steps = 10,
                             .warmup_start = 3e-5,
                             .reach_peak_early = true})},
  };
  for (const auto& [name, schedule] : schedules) {
    const auto rates = expected("schedule/" + name).to_vector<double>();
    CHECK(rates.size() >= 50);
    for (std::size_t step = 0; step < rates.size(); ++step) {
      CAPTURE(name);
      CAPTURE(step);
      CHECK(schedule(static_cast<std::int64_t>(step)) == near(rates[step], 1e-14));
    }
  }
}

TEST_CASE("gradient clipping follows PyTorch") {
  for (const auto& [run, max_norm] : {std::pair<std::string, double>{"clip_small", 0.5},
                                      std::pair<std::string, double>{"clip_large", 100}}) {
    CAPTURE(run);
    Parameters parameters(DType::float64);
    parameters.set_gradients(0);
    const double norm = clip_grad_norm(parameters.named(), max_norm).item<double>();
    CHECK(norm == near(expected(run + "/norm").item<double>(), 1e-15));
    for (const auto& [name, variable] : parameters.variables) {
      CAPTURE(name);
      CHECK(relative_error(variable.grad(), expected(run + "/" + name)) < 2e-15);
    }
  }
}

}  // namespace
}  // namespace gradus::test
