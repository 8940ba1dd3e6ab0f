#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>

#include <gradus/tensor/ops.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/near.h"
#include "tests/support/numbers.h"

using namespace gradus;
using namespace gradus::test;

namespace {

struct Case {
  Shape shape;
  Axes axes;
};

const std::vector<Case> cases{
    {{}, {}},
    {{1}, {0}},
    {{7}, {}},
    {{7}, {-1}},
    {{3, 5}, {}},
    {{3, 5}, {0}},
    {{3, 5}, {1}},
    {{3, 1, 5}, {1}},
    {{2, 3, 4}, {0}},
    {{2, 3, 4}, {1}},
    {{2, 3, 4}, {-1}},
    {{2, 3, 4}, {0, 1}},
    {{2, 3, 4}, {1, 2}},
    {{2, 3, 4}, {0, 2}},
    {{2, 3, 4}, {2, 0}},
    {{2, 3, 4, 5}, {1, 3}},
    {{2, 3, 4, 5}, {0, 2}},
    {{2, 3, 4, 5}, {-1, 0, 1}},
    {{70'001}, {}},
    {{257, 300}, {0}},
    {{257, 300}, {1}},
    {{3, 401, 67}, {1}},
    {{50'000, 3}, {0}},
    {{3, 50'000}, {0}},
};

/// The elements that each output element is made of, in the order of their flat index.
struct Groups {
  Shape output, kept;
  std::vector<std::vector<double>> values;
};

Groups groups(const Tensor& x, const Axes& axes) {
  const auto mask = axes.mask("test", x.shape());
  Groups g;
  for (int axis = 0; axis < x.rank(); ++axis) {
    g.kept.push_back(mask[axis] ? 1 : x.size(axis));
    if (!mask[axis]) g.output.push_back(x.size(axis));
  }
  g.values.resize(static_cast<std::size_t>(g.kept.numel()));
  const auto elements = doubles_of(x);
  std::size_t i = 0;
  for_each_position(x.shape(), [&](const Position& position) {
    g.values[flat_index(g.kept, position)].push_back(elements[i++]);
  });
  return g;
}

double mean_of(const std::vector<double>& values) {
  double total = 0;
  for (double value : values) total += value;
  return total / static_cast<double>(values.size());
}

double variance_of(const std::vector<double>& values, double correction) {
  const double mean = mean_of(values);
  double total = 0;
  for (double value : values) total += (value - mean) * (value - mean);
  return total / (static_cast<double>(values.size()) - correction);
}

Tensor map_groups(const Groups& g, const std::function<double(const std::vector<double>&)>& f) {
  std::vector<double> results;
  for (const auto& values : g.values) results.push_back(f(values));
  return from_vector(results, g.output);
}

}  // namespace

TEST_CASE_TEMPLATE("sums, means and variances over every pattern of axes", T, float, double) {
  const double tolerance = sizeof(T) == 4 ? 1.5e-6 : 4e-14;
  for (const Case& c : cases) {
    CAPTURE(to_string(c.shape));
    const Tensor x = random_tensor<T>(c.shape, 3, -0.5, 1.5);  // so that sums do not cancel
    const Groups g = groups(x, c.axes);
    const double n = static_cast<double>(g.values[0].size());
    const Tensor expected_mean = map_groups(g, mean_of);
    CHECK(relative_error(mean(x, c.axes), expected_mean) <= tolerance);
    CHECK(relative_error(sum(x, c.axes), affine(expected_mean, n, 0)) <= tolerance);
    CHECK(sum(x, c.axes, true).shape() == g.kept);
    CHECK(same_bits(mean(x, c.axes, true).reshape(g.output), mean(x, c.axes)));
    for (double correction : {0.0, 1.0}) {
      if (n <= correction) continue;
      const Tensor expected =
          map_groups(g, [&](const auto& values) { return variance_of(values, correction); });
      CHECK(relative_error(variance(x, c.axes, {correction}), expected) <= tolerance);
      CHECK(variance(x, c.axes, {correction, true}).shape() == g.kept);
    }
  }
}

TEST_CASE_TEMPLATE("the maximum, where it is first, and the way back", T, float, double) {
  for (const Case& c : cases) {
    CAPTURE(to_string(c.shape));
    // Few distinct values: the largest occurs several times.
    const Tensor x = random_tensor<double>(c.shape, 3, 1, 5).to(DType::int64).to(dtype_of<T>);
    const Groups g = groups(x, c.axes);
    const auto first = [](const auto& values) {
      return static_cast<double>(std::max_element(values.begin(), values.end()) - values.begin());
    };
    const MaxResult result = max(x, c.axes);
    CHECK(result.indices.dtype() == DType::int64);
    CHECK(max_difference(result.indices, map_groups(g, first)) == 0);
    CHECK(max_difference(result.values, map_groups(g, [&](const auto& values) {
                           return values[static_cast<std::size_t>(first(values))];
                         })) == 0);
    CHECK(max(x, c.axes, true).values.shape() == g.kept);
    // dx is dy at the first maximum and zero elsewhere.
    const Tensor dy = affine(result.values, 1, 10);
    const Tensor dx = max_backward(dy, result.indices, x.shape(), c.axes);
    const Groups back = groups(dx, c.axes);
    const auto expected = doubles_of(dy);
    const auto at = result.indices.template to_vector<std::int64_t>();
    bool matches = dx.shape() == x.shape();
    for (std::size_t i = 0; i < back.values.size(); ++i)
      for (std::size_t r = 0; r < back.values[i].size(); ++r)
        matches = matches &&
                  back.values[i][r] == (static_cast<std::int64_t>(r) == at[i] ? expected[i] : 0.0);
    CHECK(matches);
  }
}

TEST_CASE("places beyond the axes get no gradient from max_backward") {
  const Tensor places = device_vector<std::int64_t>({7, -1}, {2});
  CHECK(same_bits(max_backward(ones({2}, device_options()), places, {2, 3}, {1}),
                  zeros({2, 3}, device_options())));
}

TEST_CASE("argmax along an axis") {
  const Tensor x = device_vector<float>({1, 5, 5, 7, 0, 7}, {2, 3});
  CHECK(argmax(x, -1).to_vector<std::int64_t>() == std::vector<std::int64_t>{1, 0});
  CHECK(argmax(x, 0).to_vector<std::int64_t>() == std::vector<std::int64_t>{1, 0, 1});
}

TEST_CASE("NaN counts as the largest") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor x = device_vector<float>({1, nan, 9, nan, -inf, -inf, -inf, -inf}, {2, 4});
  const MaxResult result = max(x, {1});
  CHECK(std::isnan(result.values.to_vector<float>()[0]));
  CHECK(result.values.to_vector<float>()[1] == -inf);
  CHECK(result.indices.to_vector<std::int64_t>() == std::vector<std::int64_t>{1, 0});
  CHECK(std::isnan(sum(x).item<float>()));
  CHECK(std::isnan(variance(x).item<float>()));
}

TEST_CASE("reductions of nothing, and to nothing") {
  const auto nothing = [](const Shape& shape) { return zeros(shape, device_options()); };
  CHECK(sum(nothing({0})).item<float>() == 0);
  CHECK(std::isnan(mean(nothing({0})).item<float>()));
  CHECK(std::isnan(variance(nothing({0})).item<float>()));
  CHECK(sum(nothing({0, 3}), {0}).to_vector<float>() == std::vector<float>{0, 0, 0});
  CHECK(sum(nothing({2, 0, 3}), {1}).to_vector<float>() == std::vector<float>(6, 0.0f));
  CHECK(sum(nothing({2, 0}), {1}).to_vector<float>() == std::vector<float>{0, 0});
  CHECK(sum(nothing({0, 3}), {1}).shape() == Shape{0});
  CHECK(sum(nothing({3, 0}), {0}).shape() == Shape{0});
  CHECK(sum(nothing({0, 3, 5}), {1}).shape() == Shape{0, 5});
  CHECK(sum(nothing({2, 3, 0}), {1}).shape() == Shape{2, 0});
  CHECK(sum(nothing({2, 0, 3}), {0, 2}).shape() == Shape{0});
  CHECK(variance(nothing({3, 0}), {0}).shape() == Shape{0});
  CHECK(max(nothing({3, 0}), {0}).values.shape() == Shape{0});
  CHECK(max(nothing({0, 3}), {1}).indices.shape() == Shape{0});
}

TEST_CASE("the variance is NaN where the divisor is not positive, and 0 for equal values") {
  CHECK(std::isnan(variance(ones({1}, device_options())).item<float>()));
  CHECK(std::isnan(variance(ones({2}, device_options()), {}, {.correction = 2}).item<float>()));
  CHECK(variance(ones({1}, device_options()), {}, {.correction = 0}).item<float>() == 0);
  CHECK(variance(full({1001}, 0.1, device_options())).item<float>() <= 1e-15f);
}

TEST_CASE("the mean of equal small integers is exact, as a product with 1 / n is not") {
  for (const DType dtype : {DType::float32, DType::float64}) {
    for (std::int64_t n = 1; n <= 200; ++n) {
      CAPTURE(n);
      const Tensor threes = full({n}, 3, {dtype, test_device()});
      CHECK(mean(threes).to(DType::float64).item<double>() == 3);
      CHECK(global_avg_pool2d(threes.reshape({1, n, 1, 1})).to(DType::float64).item<double>() == 3);
      const Pool2dOptions whole{.kernel = {n, 1}, .stride = 1};
      CHECK(avg_pool2d(threes.reshape({1, n, 1, 1}), whole).to(DType::float64).item<double>() == 3);
    }
  }
}

TEST_CASE("float32 sums of very many elements stay accurate") {
  const std::int64_t n = pick_size<std::int64_t>(10'000'000, 200'000);
  const double exact = static_cast<double>(0.1f) * static_cast<double>(n);
  const Tensor x = full({n}, 0.1, device_options());
  CHECK(sum(x).item<float>() == near(exact));
  CHECK(mean(x).item<float>() == near(0.1));
  const auto worst = [&](const Shape& shape, const Axes& axes) {
    const Tensor y = sum(x.reshape(shape), axes);
    const double expected = exact / static_cast<double>(y.numel());
    double largest = 0;
    for (float value : y.to_vector<float>())
      largest = std::max(largest, std::abs(value - expected) / expected);
    return largest;
  };
  CHECK(worst({n / 2, 2}, {0}) <= 2e-6);
  CHECK(worst({2, n / 4, 2}, {1}) <= 2e-6);
  CHECK(worst({2, n / 2}, {1}) <= 1e-6);
  CHECK(worst({n / 20, 2, 10}, {0, 2}) <= 1e-6);
}

TEST_CASE("float32 variances survive a large mean") {
  // Around 1e6 a float32 is a multiple of 1/16, so the noise is compared as it is stored.
  const Tensor x = random_tensor<float>({40'000, 3}, 5, 1e6 - 1, 1e6 + 1);
  for (const Axes& axes : {Axes{}, Axes{0}}) {
    const Tensor expected =
        map_groups(groups(x, axes), [](const auto& values) { return variance_of(values, 1); });
    CHECK(relative_error(variance(x, axes), expected) <= 4e-7);
  }
  const Tensor wide = transpose(x);
  const Tensor expected =
      map_groups(groups(wide, {1}), [](const auto& values) { return variance_of(values, 1); });
  CHECK(relative_error(variance(wide, {1}), expected) <= 4e-7);
}

TEST_CASE("reductions do not depend on the number of threads" * cpu_only()) {
  for (const Case& c : cases) {
    CAPTURE(to_string(c.shape));
    const Tensor x = random_tensor<float>(c.shape, 3);
    for (const auto& op : std::vector<std::function<Tensor()>>{
             [&] { return sum(x, c.axes); }, [&] { return variance(x, c.axes, {.correction = 0}); },
             [&] { return max(x, c.axes).indices; }})
      CHECK(same_bits(with_threads(1, op), with_threads(2, op)));
  }
}

TEST_CASE("reductions check their arguments") {
  const Tensor x = zeros({2, 3});
  CHECK_ERROR(sum(Tensor()), "[sum] x is undefined");
  CHECK_ERROR(sum(zeros({2}, {DType::int64})),
              "[sum] x must be float32, float64 or bfloat16; got int64");
  CHECK_ERROR(sum(x, {2}), "[sum] axis 2 is out of range for shape [2, 3]");
  CHECK_ERROR(mean(x, {0, -2}), "[mean] axis -2 is given twice");
  CHECK_ERROR(variance(x, {-3}), "[variance] axis -3 is out of range");
  CHECK_ERROR(max(zeros({2, 0}), {1}),
              "[max] there is no maximum over no elements; got shape [2, 0]");
  CHECK_ERROR(argmax(x, 5), "[max] axis 5 is out of range");
  CHECK_ERROR(max_backward(zeros({3}), zeros({2}, {DType::int64}), {2, 3}, {1}),
              "[max_backward] dy and indices must have 2 elements; got [3] and [2]");
}
