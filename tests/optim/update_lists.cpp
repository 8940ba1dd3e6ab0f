// Updates of many tensors in one call: odd sizes, views that are not aligned, tensors without a
// gradient, more tensors than one launch takes.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <utility>

#include <gradus/optim/adam.h>
#include <gradus/tensor/random.h>
#include "optim/internal/updates.h"
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/near.h"

using namespace gradus;
using namespace gradus::optim;
using namespace gradus::test;

namespace {

/// n random elements that begin `offset` elements after an aligned address.
template <class T>
Tensor piece(std::int64_t n, std::int64_t offset, std::uint64_t seed, double low = -1) {
  Generator generator(seed);
  const Tensor x = uniform({n + offset}, low, 1, generator, {dtype_of<T>});
  return on_device(x).slice(offset, n + offset);
}

/// Tensors of which each has `count` pieces of one size.
template <class T>
std::vector<std::vector<Tensor>> make_lists(int count) {
  std::vector<std::int64_t> sizes = {1, 3, 0, 5, 1025, 70'000, 4096, 4097, 8195};
  for (int i = 0; i < 190; ++i) sizes.push_back(1 + i % 7);  // more than a launch's list takes
  std::vector<std::vector<Tensor>> lists;
  std::uint64_t seed = 0;
  for (const std::int64_t n : sizes) {
    std::vector<Tensor> list;
    const std::int64_t index = static_cast<std::int64_t>(lists.size());
    for (int k = 0; k < count; ++k) {
      // All aligned, or each shifted otherwise; squares of gradients (k = 3) are not negative.
      const std::int64_t offset = index % 2 == 0 ? 0 : 1 + (index + k) % 3;
      list.push_back(piece<T>(n, offset, ++seed, k == 3 ? 0 : -1));
    }
    lists.push_back(list);
  }
  return lists;
}

bool has_gradient(std::size_t i) { return i % 5 != 4; }

/// Equal to rounding: a clone is aligned where a view of a list's memory is not, and wide and
/// single elements may be multiplied and added with one rounding or two.
template <class T>
void check_equal(const Tensor& a, const Tensor& b) {
  const double rounding = 4 * static_cast<double>(std::numeric_limits<T>::epsilon());
  CHECK(relative_error(a, b) <= rounding);
}

/// The lists' tensors as parameter, gradient (for some) and state; and clones of them.
template <class T, std::size_t slots>
struct Trainees {
  std::vector<UpdateTensors> listed, alone;

  Trainees() {
    for (const auto& list : make_lists<T>(2 + static_cast<int>(slots))) {
      const bool trained = has_gradient(listed.size());
      UpdateTensors& x = listed.emplace_back(list[0], trained ? list[1] : Tensor());
      UpdateTensors& y = alone.emplace_back(list[0].clone(), trained ? list[1].clone() : Tensor());
      for (std::size_t k = 2; k < list.size(); ++k) {
        x.state.push_back(list[k]);
        y.state.push_back(list[k].clone());
      }
    }
  }

  /// Updates the list in one call, and each of its clones in a call of its own.
  template <class Update>
  void check(const std::vector<Update>& updates) {
    apply_updates<slots>(listed, DeviceArray<Update>(updates, test_device()));
    for (std::size_t i = 0; i < listed.size(); ++i) {
      CAPTURE(i);
      apply_updates<slots>(std::span(&alone[i], 1),
                           DeviceArray<Update>({updates[i]}, test_device()));
      check_equal<T>(listed[i].parameter, alone[i].parameter);
      for (std::size_t k = 0; k < slots; ++k) check_equal<T>(listed[i].state[k], alone[i].state[k]);
    }
  }
};

template <class T, std::size_t slots>
void check_sgd(const SgdUpdate& rule) {
  CAPTURE(rule.momentum);
  Trainees<T, slots> trainees;
  std::vector<SgdUpdate> updates;
  for (std::size_t i = 0; i < trainees.listed.size(); ++i) {
    updates.push_back({.lr = 0.01 * static_cast<double>(i % 11),
                       .weight_decay = 0.1 * static_cast<double>(i % 3),
                       .q = 1 + static_cast<double>(i % 4),
                       .momentum = rule.momentum,
                       .nesterov = rule.nesterov,
                       .first = i % 2 == 0});
  }
  trainees.check(updates);
}

}  // namespace

TEST_CASE_TEMPLATE("SGD over a list is SGD over each", T, float, double) {
  check_sgd<T, 0>({});
  check_sgd<T, 1>({.momentum = 0.9});
  check_sgd<T, 1>({.momentum = 0.9, .nesterov = true});
}

TEST_CASE_TEMPLATE("Adam over a list is Adam over each", T, float, double) {
  Trainees<T, 2> trainees;
  std::vector<AdamUpdate> updates;
  for (std::size_t i = 0; i < trainees.listed.size(); ++i) {
    const auto t = static_cast<std::int64_t>(i % 13);
    updates.emplace_back(Adam::Options{}, 0.01 * static_cast<double>(t), 0.1, 1 + t);
  }
  trainees.check(updates);
}

TEST_CASE_TEMPLATE("LARS's trust ratios over a list", T, float, double) {
  constexpr double lr = 0.01, decay = 0.25;
  const Trainees<T, 0> trainees;
  for (const LarsForm form : {LarsForm::decayed_gradient, LarsForm::separate_norms}) {
    CAPTURE(static_cast<int>(form));
    std::vector<SgdUpdate> updates;
    for (std::size_t i = 0; i < trainees.listed.size(); ++i)
      updates.push_back({.lr = lr, .weight_decay = decay, .adapt = i % 3 != 0});
    DeviceArray<SgdUpdate> on_the_device(updates, test_device());
    set_trust_ratios(trainees.listed, {.form = form, .trust = 0.02, .clip = false}, on_the_device);
    updates = on_the_device.to_vector();
    for (std::size_t i = 0; i < updates.size(); ++i) {
      const UpdateTensors& trainee = trainees.listed[i];
      if (!has_gradient(i) || trainee.parameter.numel() == 0) continue;
      CAPTURE(i);
      const auto p = trainee.parameter.template to_vector<T>(),
                 g = trainee.gradient.template to_vector<T>();
      double parameters = 0, gradients = 0, decayed = 0;
      for (std::size_t k = 0; k < p.size(); ++k) {
        parameters += static_cast<double>(p[k]) * p[k];
        gradients += static_cast<double>(g[k]) * g[k];
        decayed += (g[k] + decay * p[k]) * (g[k] + decay * p[k]);
      }
      const double divisor = form == LarsForm::decayed_gradient
                                 ? std::sqrt(decayed)
                                 : std::sqrt(gradients) + decay * std::sqrt(parameters) + 1e-8;
      const double ratio = updates[i].adapt ? 0.02 * std::sqrt(parameters) / divisor : 1;
      CHECK(updates[i].lr == lr);
      CHECK(updates[i].weight_decay == decay);
      CHECK(updates[i].q == near(ratio, 1e-13));
    }
  }
}

TEST_CASE_TEMPLATE("clipping over a list", T, float, double) {
  std::vector<Variable> variables;
  std::vector<Tensor> before;
  double squares = 0;
  auto lists = make_lists<T>(1);
  for (auto& list : lists) {
    before.push_back(list[0].clone());
    for (const T x : list[0].template to_vector<T>()) squares += static_cast<double>(x) * x;
    variables.emplace_back(zeros(list[0].shape(), options_of(list[0])), true);
    variables.back().set_grad(std::exchange(list[0], {}));  // the only handle: scaled in place
  }
  const double norm = std::sqrt(squares);
  std::vector<NamedParameter> parameters;
  for (Variable& variable : variables) parameters.push_back({"x", &variable});
  const auto gradient = [&](std::size_t i) { return variables[i].grad(); };
  SUBCASE("above") {
    const Tensor result = clip_grad_norm(parameters, 2);
    CHECK(result.device() == test_device());
    CHECK(result.item<double>() == near(norm, 2e-13));
    const T scale = static_cast<T>(2 / (result.item<double>() + 1e-6));
    for (std::size_t i = 0; i < before.size(); ++i) {
      CAPTURE(i);
      auto expected = before[i].to_vector<T>();
      for (T& x : expected) x *= scale;
      CHECK(gradient(i).template to_vector<T>() == expected);
    }
  }
  SUBCASE("below, or not finite: unchanged") {
    CHECK(clip_grad_norm(parameters, 2 * norm).item<double>() == near(norm, 2e-13));
    for (std::size_t i = 0; i < before.size(); ++i) check_equal<T>(gradient(i), before[i]);
    gradient(1).slice(2, 3).copy_from(from_vector<T>({INFINITY}, {1}));
    CHECK(std::isinf(clip_grad_norm(parameters, 1).item<double>()));
    for (std::size_t i = 2; i < before.size(); ++i) check_equal<T>(gradient(i), before[i]);
  }
}

TEST_CASE_TEMPLATE("a guard that is not finite stops an update", T, float, double) {
  for (const double value : {1.0, static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    CAPTURE(value);
    const Tensor guard = on_device(from_vector<T>({static_cast<T>(value)}, {}));
    const Tensor x = piece<T>(1025, 0, 1), g = piece<T>(1025, 0, 2), v = piece<T>(1025, 0, 3, 0);
    const auto check = [&]<std::size_t slots, class Update>(const Update& update,
                                                            const UpdateTensors& before) {
      UpdateTensors trainee{before.parameter.clone(), g};
      for (const Tensor& state : before.state) trainee.state.push_back(state.clone());
      apply_updates<slots>(std::span(&trainee, 1), DeviceArray<Update>({update}, test_device()),
                           guard);
      const auto unchanged = [](const Tensor& a, const Tensor& b) {
        return a.to_vector<T>() == b.to_vector<T>();
      };
      CHECK(unchanged(trainee.parameter, before.parameter) == (value != 1));
      for (std::size_t k = 0; k < slots; ++k)
        CHECK(unchanged(trainee.state[k], before.state[k]) == (value != 1));
    };
    check.template operator()<0>(SgdUpdate{.lr = 0.1}, {x, g});
    check.template operator()<1>(SgdUpdate{.lr = 0.1, .momentum = 0.9}, {x, g, {x}});
    check.template operator()<2>(AdamUpdate({}, 1e-3, 0, 1), {x, g, {x, v}});
  }
}
