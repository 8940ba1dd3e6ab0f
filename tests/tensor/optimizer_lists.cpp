// Updates of many tensors in one call: odd sizes, views that are not aligned, tensors without a
// gradient, more tensors than one launch takes.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include <gradus/tensor/optimizer_ops.h>
#include <gradus/tensor/random.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/near.h"

using namespace gradus;
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

}  // namespace

TEST_CASE_TEMPLATE("SGD over a list is SGD over each", T, float, double) {
  for (const SgdRule& rule :
       {SgdRule{}, SgdRule{.momentum = 0.9}, SgdRule{.momentum = 0.9, .nesterov = true}}) {
    CAPTURE(rule.momentum);
    std::vector<SgdTensors> tensors, alone;
    std::vector<SgdStep> steps;
    for (const auto& list : make_lists<T>(3)) {
      const std::size_t i = tensors.size();
      tensors.push_back({list[0], has_gradient(i) ? list[1] : Tensor(), list[2]});
      alone.push_back({list[0].clone(), list[1].clone(), list[2].clone()});
      steps.push_back({.lr = 0.01 * static_cast<double>(i % 11),
                       .weight_decay = 0.1 * static_cast<double>(i % 3),
                       .gradient_scale = 1 + static_cast<double>(i % 4),
                       .first = i % 2 == 0 ? 1.0 : 0.0});
    }
    sgd_update(tensors, on_device(pack_steps(steps)), rule);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      CAPTURE(i);
      if (has_gradient(i))
        sgd_update(std::span(&alone[i], 1), on_device(pack_steps(std::vector{steps[i]})), rule);
      check_equal<T>(tensors[i].parameter, alone[i].parameter);
      check_equal<T>(tensors[i].momentum, alone[i].momentum);
    }
  }
}

TEST_CASE_TEMPLATE("Adam over a list is Adam over each", T, float, double) {
  const AdamRule rule;
  std::vector<AdamTensors> tensors, alone;
  std::vector<AdamStep> steps;
  for (const auto& list : make_lists<T>(4)) {
    const std::size_t i = tensors.size();
    tensors.push_back({list[0], has_gradient(i) ? list[1] : Tensor(), list[2], list[3]});
    alone.push_back({list[0].clone(), list[1].clone(), list[2].clone(), list[3].clone()});
    const auto t = static_cast<std::int64_t>(i % 13);
    steps.push_back(adam_step(rule, 0.01 * static_cast<double>(t), 0.1, 1 + t));
  }
  adam_update(tensors, on_device(pack_steps(steps)), rule);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    CAPTURE(i);
    if (has_gradient(i))
      adam_update(std::span(&alone[i], 1), on_device(pack_steps(std::vector{steps[i]})), rule);
    check_equal<T>(tensors[i].parameter, alone[i].parameter);
    check_equal<T>(tensors[i].mean, alone[i].mean);
    check_equal<T>(tensors[i].square, alone[i].square);
  }
}

TEST_CASE_TEMPLATE("LARS's trust ratios over a list", T, float, double) {
  constexpr double lr = 0.01, decay = 0.25;
  for (const LarsForm form : {LarsForm::decayed_gradient, LarsForm::separate_norms}) {
    CAPTURE(static_cast<int>(form));
    std::vector<SgdTensors> tensors;
    std::vector<SgdStep> steps;
    for (const auto& list : make_lists<T>(2)) {
      const std::size_t i = tensors.size();
      tensors.push_back({list[0], has_gradient(i) ? list[1] : Tensor(), Tensor()});
      steps.push_back({.lr = lr, .weight_decay = decay, .adapt = i % 3 == 0 ? 0.0 : 1.0});
    }
    Tensor on_the_device = on_device(pack_steps(steps));
    const LarsRule rule{.form = form, .trust = 0.02, .clip = false};
    lars_trust(tensors, rule, on_the_device);
    const auto fields = on_the_device.to_vector<double>();
    const std::size_t width = fields.size() / steps.size();
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      if (!has_gradient(i) || tensors[i].parameter.numel() == 0) continue;
      CAPTURE(i);
      const auto p = tensors[i].parameter.to_vector<T>(), g = tensors[i].gradient.to_vector<T>();
      double parameters = 0, gradients = 0, decayed = 0;
      for (std::size_t k = 0; k < p.size(); ++k) {
        parameters += static_cast<double>(p[k]) * p[k];
        gradients += static_cast<double>(g[k]) * g[k];
        decayed += (g[k] + decay * p[k]) * (g[k] + decay * p[k]);
      }
      const double divisor = form == LarsForm::decayed_gradient
                                 ? std::sqrt(decayed)
                                 : std::sqrt(gradients) + decay * std::sqrt(parameters) + 1e-8;
      const double ratio = steps[i].adapt != 0 ? 0.02 * std::sqrt(parameters) / divisor : 1;
      CHECK(fields[i * width] == lr);
      CHECK(fields[i * width + 1] == decay);
      CHECK(fields[i * width + 2] == near(ratio, 1e-13));
    }
  }
}

TEST_CASE_TEMPLATE("clipping over a list", T, float, double) {
  std::vector<Tensor> gradients, before;
  double squares = 0;
  for (const auto& list : make_lists<T>(1)) {
    gradients.push_back(list[0]);
    before.push_back(list[0].clone());
    for (const T x : list[0].template to_vector<T>()) squares += static_cast<double>(x) * x;
  }
  const double norm = std::sqrt(squares);
  SUBCASE("above") {
    const Tensor result = clip_norm(gradients, 2);
    CHECK(result.device() == test_device());
    CHECK(result.item<double>() == near(norm, 2e-13));
    const T scale = static_cast<T>(2 / (result.item<double>() + 1e-6));
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      CAPTURE(i);
      auto expected = before[i].to_vector<T>();
      for (T& x : expected) x *= scale;
      CHECK(gradients[i].to_vector<T>() == expected);
    }
  }
  SUBCASE("below, or not finite: unchanged") {
    CHECK(clip_norm(gradients, 2 * norm).item<double>() == near(norm, 2e-13));
    for (std::size_t i = 0; i < gradients.size(); ++i) check_equal<T>(gradients[i], before[i]);
    gradients[1].slice(2, 3).copy_from(from_vector<T>({INFINITY}, {1}));
    CHECK(std::isinf(clip_norm(gradients, 1).item<double>()));
    for (std::size_t i = 2; i < gradients.size(); ++i) check_equal<T>(gradients[i], before[i]);
  }
}

TEST_CASE_TEMPLATE("a guard that is not finite stops an update", T, float, double) {
  for (const double value : {1.0, static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    CAPTURE(value);
    const Tensor guard = on_device(from_vector<T>({static_cast<T>(value)}, {}));
    const Tensor x = piece<T>(1025, 0, 1), g = piece<T>(1025, 0, 2);
    SgdTensors sgd[] = {{x.clone(), g, x.clone()}};
    sgd_update(sgd, on_device(pack_steps(std::vector<SgdStep>(1))), {.momentum = 0.9}, guard);
    AdamTensors adam[] = {{x.clone(), g, piece<T>(1025, 0, 4), piece<T>(1025, 0, 3, 0)}};
    const Tensor mean = adam[0].mean.clone(), square = adam[0].square.clone();
    adam_update(adam, on_device(pack_steps(std::vector<AdamStep>(1))), {}, guard);
    const auto unchanged = [&](const Tensor& a, const Tensor& b) {
      return a.to_vector<T>() == b.to_vector<T>();
    };
    CHECK(unchanged(sgd[0].parameter, x) == (value != 1));
    CHECK(unchanged(sgd[0].momentum, x) == (value != 1));
    CHECK(unchanged(adam[0].parameter, x) == (value != 1));
    CHECK(unchanged(adam[0].mean, mean) == (value != 1));
    CHECK(unchanged(adam[0].square, square) == (value != 1));
  }
}
