#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>

#include <gradus/tensor/ops.h>
#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"

using namespace gradus;
using namespace gradus::test;

namespace {

template <class T>
constexpr double tolerance = sizeof(T) == 4 ? 1e-6 : 2e-15;

constexpr float nan32 = std::numeric_limits<float>::quiet_NaN();
constexpr float inf32 = std::numeric_limits<float>::infinity();

Tensor floats(const std::vector<float>& values) {
  return device_vector(values, {static_cast<std::int64_t>(values.size())});
}

struct UnaryCase {
  const char* name;
  std::function<Tensor(const Tensor&)> op;
  std::function<double(double)> reference;
  double low = -3, high = 3;
};

const std::vector<UnaryCase>& unary_cases() {
  static const std::vector<UnaryCase> cases{
      {"affine", [](auto& x) { return affine(x, 2.5, -1); }, [](double x) { return 2.5 * x - 1; }},
      {"neg", [](auto& x) { return neg(x); }, [](double x) { return -x; }},
      {"exp", [](auto& x) { return gradus::exp(x); }, [](double x) { return std::exp(x); }},
      {"log", [](auto& x) { return gradus::log(x); }, [](double x) { return std::log(x); }, 0.1, 9},
      {"sqrt", [](auto& x) { return gradus::sqrt(x); }, [](double x) { return std::sqrt(x); }, 0,
       9},
      {"square", [](auto& x) { return square(x); }, [](double x) { return x * x; }},
      {"pow", [](auto& x) { return gradus::pow(x, 1.5); },
       [](double x) { return std::pow(x, 1.5); }, 0, 3},
      {"abs", [](auto& x) { return gradus::abs(x); }, [](double x) { return std::fabs(x); }},
      {"clamp", [](auto& x) { return clamp(x, -1, 0.5); },
       [](double x) { return std::min(std::max(x, -1.0), 0.5); }},
      {"relu", [](auto& x) { return relu(x); }, [](double x) { return std::max(x, 0.0); }},
      {"leaky_relu", [](auto& x) { return leaky_relu(x); },
       [](double x) { return std::max(x, 0.01 * x); }},
      {"sigmoid", [](auto& x) { return sigmoid(x); },
       [](double x) { return 1 / (1 + std::exp(-x)); }},
      {"tanh", [](auto& x) { return gradus::tanh(x); }, [](double x) { return std::tanh(x); }},
      {"gelu", [](auto& x) { return gelu(x); },
       [](double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }},
  };
  return cases;
}

struct BinaryCase {
  const char* name;
  Tensor (*op)(const Tensor&, const Tensor&);
  double (*reference)(double, double);
};

const std::vector<BinaryCase> binary_cases{
    {"add", add, [](double a, double b) { return a + b; }},
    {"sub", sub, [](double a, double b) { return a - b; }},
    {"mul", mul, [](double a, double b) { return a * b; }},
    {"div", div, [](double a, double b) { return a / b; }},
    {"maximum", maximum, [](double a, double b) { return std::max(a, b); }},
    {"minimum", minimum, [](double a, double b) { return std::min(a, b); }},
    {"equal", equal, [](double a, double b) { return double(a == b); }},
    {"not_equal", not_equal, [](double a, double b) { return double(a != b); }},
    {"less", less, [](double a, double b) { return double(a < b); }},
    {"less_equal", less_equal, [](double a, double b) { return double(a <= b); }},
    {"greater", greater, [](double a, double b) { return double(a > b); }},
    {"greater_equal", greater_equal, [](double a, double b) { return double(a >= b); }},
};

/// Values of a binary op by the definition of broadcasting.
Tensor naive_binary(const BinaryCase& c, const Tensor& a, const Tensor& b) {
  const auto x = doubles_of(a), y = doubles_of(b);
  const Shape shape = broadcast_shapes("naive", a.shape(), b.shape());
  std::vector<double> values;
  for_each_position(shape, [&](const Position& position) {
    values.push_back(
        c.reference(x[flat_index(a.shape(), position)], y[flat_index(b.shape(), position)]));
  });
  return from_vector(values, shape);
}

/// Values from a small set, so that equal pairs occur; none is 0.
template <class T>
Tensor coarse_values(const Shape& shape, unsigned seed) {
  const Tensor steps = random_tensor<double>(shape, seed, 1, 6).to(DType::int64);
  return steps.to(dtype_of<T>);
}

}  // namespace

TEST_CASE_TEMPLATE("unary functions against the standard library", T, float, double) {
  for (const UnaryCase& c : unary_cases()) {
    CAPTURE(c.name);
    for (const Shape& shape : {Shape{}, Shape{0}, Shape{1}, Shape{7}, Shape{3, 5}, Shape{70'001}}) {
      CAPTURE(shape.numel());
      const Tensor x = random_tensor<T>(shape, 1, c.low, c.high);
      const Tensor y = c.op(x);
      CHECK(y.dtype() == x.dtype());
      std::vector<double> expected;
      for (T value : x.template to_vector<T>()) expected.push_back(c.reference(value));
      CHECK(relative_error(y, from_vector(expected, shape)) <= tolerance<T>);
    }
  }
}

TEST_CASE("unary functions at special values") {
  const Tensor x = floats({nan32, inf32, -inf32, 0});
  const auto values = [](const Tensor& y) { return y.to_vector<float>(); };
  CHECK(std::isnan(values(relu(x))[0]));
  CHECK(values(relu(x))[1] == inf32);
  CHECK(values(relu(x))[2] == 0);
  CHECK(std::isnan(values(leaky_relu(x, 0))[0]));
  CHECK(values(leaky_relu(x, 0.5))[1] == inf32);
  CHECK(values(leaky_relu(x, 0.5))[2] == -inf32);
  CHECK(std::isnan(values(clamp(x, -1, 1))[0]));
  CHECK(values(clamp(x, -1, 1))[1] == 1);
  CHECK(values(clamp(x, -1, 1))[2] == -1);
  CHECK(values(sigmoid(x))[1] == 1);
  CHECK(values(sigmoid(x))[2] == 0);
  CHECK(values(gradus::tanh(x))[2] == -1);
  CHECK(values(gradus::log(x))[3] == -inf32);
  CHECK(std::isnan(values(gradus::log(x))[2]));
  CHECK(values(gradus::pow(x, 0))[3] == 1);
  CHECK(values(gelu(floats({-40, 40})))[0] == 0);
  CHECK(values(gelu(floats({-40, 40})))[1] == 40);
}

TEST_CASE_TEMPLATE("binary functions broadcast in every pattern", T, float, double) {
  const std::pair<Shape, Shape> patterns[] = {{{}, {}},
                                              {{1}, {}},
                                              {{0}, {1}},
                                              {{0, 3}, {3}},
                                              {{7}, {7}},
                                              {{7}, {1}},
                                              {{5, 3}, {3}},
                                              {{5, 3}, {5, 1}},
                                              {{5, 1}, {1, 3}},
                                              {{2, 3, 4}, {3, 1}},
                                              {{2, 1, 4}, {3, 1}},
                                              {{2, 3, 4}, {2, 1, 4}},
                                              {{1, 1}, {4, 5}},
                                              {{2, 1, 3, 1}, {4, 1, 5}},
                                              {{2, 3, 4, 5}, {1, 3, 1, 5}},
                                              {{300, 130}, {130}},
                                              {{300, 130}, {300, 1}},
                                              {{70'001}, {70'001}}};
  for (const BinaryCase& c : binary_cases) {
    CAPTURE(c.name);
    for (const auto& [shape_a, shape_b] : patterns) {
      CAPTURE(to_string(shape_a));
      CAPTURE(to_string(shape_b));
      const Tensor a = coarse_values<T>(shape_a, 1), b = coarse_values<T>(shape_b, 2);
      CHECK(relative_error(c.op(a, b), naive_binary(c, a, b)) <= tolerance<T>);
      CHECK(relative_error(c.op(b, a), naive_binary(c, b, a)) <= tolerance<T>);
    }
  }
}

TEST_CASE_TEMPLATE("comparisons take every dtype and give a uint8 mask", T, float, double,
                   std::uint8_t, std::int64_t) {
  for (std::size_t i = 6; i < binary_cases.size(); ++i) {
    const BinaryCase& c = binary_cases[i];
    CAPTURE(c.name);
    const Tensor a = coarse_values<T>({40, 3}, 1), b = coarse_values<T>({3}, 2);
    CHECK(c.op(a, b).dtype() == DType::uint8);
    CHECK(max_difference(c.op(a, b), naive_binary(c, a, b)) == 0);
  }
}

TEST_CASE("binary functions of NaN") {
  const Tensor x = floats({nan32, 1, nan32}), y = floats({1, nan32, nan32});
  for (const Tensor& result : {maximum(x, y), minimum(x, y), add(x, y)})
    for (float value : result.to_vector<float>()) CHECK(std::isnan(value));
  using Mask = std::vector<std::uint8_t>;
  for (auto op : {equal, less, less_equal, greater, greater_equal})
    CHECK(op(x, y).to_vector<std::uint8_t>() == Mask{0, 0, 0});
  CHECK(not_equal(x, y).to_vector<std::uint8_t>() == Mask{1, 1, 1});
}

TEST_CASE_TEMPLATE("where chooses, and all three broadcast", T, float, double) {
  const TensorOptions options = device_options(dtype_of<T>);
  const Tensor mask = device_vector(std::vector<std::uint8_t>{1, 0, 1}, {3});
  const Tensor a = device_vector(std::vector<T>{1, 2}, {2, 1});
  const Tensor b = full({}, -1, options);
  CHECK(where(mask, a, b).shape() == Shape{2, 3});
  CHECK(where(mask, a, b).template to_vector<T>() == std::vector<T>{1, -1, 1, 2, -1, 2});
  // The element that is not chosen does not matter.
  const Tensor bad = full({3}, std::numeric_limits<double>::quiet_NaN(), options);
  CHECK(where(mask, b, bad).template to_vector<T>()[0] == T{-1});
  const Tensor large = zeros({70'001}, device_options(DType::uint8));
  CHECK(where(large, b, full({}, 2, options)).template to_vector<T>() ==
        std::vector<T>(70'001, T{2}));
}

TEST_CASE("operators are the ops of the same meaning") {
  const Tensor a = floats({1, 2, -3}), b = floats({4, -5, 8});
  const auto values = [](const Tensor& y) { return y.to_vector<float>(); };
  CHECK(values(a + b) == std::vector<float>{5, -3, 5});
  CHECK(values(a - b) == std::vector<float>{-3, 7, -11});
  CHECK(values(a * b) == std::vector<float>{4, -10, -24});
  CHECK(values(a / b) == std::vector<float>{0.25, -0.4f, -0.375});
  CHECK(values(a + 1) == std::vector<float>{2, 3, -2});
  CHECK(values(a - 1) == std::vector<float>{0, 1, -4});
  CHECK(values(a * 2) == std::vector<float>{2, 4, -6});
  CHECK(values(2 * a) == std::vector<float>{2, 4, -6});
  CHECK(values(1 + a) == std::vector<float>{2, 3, -2});
  CHECK(values(1 - a) == std::vector<float>{0, -1, 4});
  CHECK(values(a / 2) == std::vector<float>{0.5, 1, -1.5});
  CHECK(values(-a) == std::vector<float>{-1, -2, 3});
}

TEST_CASE_TEMPLATE("add_scaled changes its first argument in place", T, float, double) {
  const TensorOptions options = device_options(dtype_of<T>);
  Tensor into = ones({70'001}, options);
  const Tensor handle = into;
  add_scaled(into, full({70'001}, 2, options), -0.25);
  CHECK(handle.template to_vector<T>() == std::vector<T>(70'001, T{0.5}));
  add_scaled(into, into);
  const std::int64_t n = 100'000;  // parts of one tensor, which overlap
  Tensor all = arange(0, n + 1).to(dtype_of<T>).to(options.device);
  Tensor later = all.slice(1, n + 1);
  add_scaled(later, all.slice(0, n));
  const std::vector<T> sums = all.to_vector<T>();
  for (std::int64_t i = 1; i <= n; ++i) REQUIRE(sums[static_cast<std::size_t>(i)] == T(2 * i - 1));
  CHECK(handle.template to_vector<T>() == std::vector<T>(70'001, T{1}));
}

TEST_CASE_TEMPLATE("all_finite finds one bad element anywhere", T, float, double) {
  const TensorOptions options = device_options(dtype_of<T>);
  CHECK(all_finite(zeros({0}, options)));
  CHECK(all_finite(full({3}, std::numeric_limits<T>::max(), options)));
  Tensor x = random_tensor<T>({70'001}, 1).to(Device::cpu);
  CHECK(all_finite(on_device(x)));
  for (std::int64_t at : {0, 32'767, 32'768, 70'000})
    for (T bad : {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity(),
                  -std::numeric_limits<T>::infinity()}) {
      const T before = x.template data<T>()[at];
      x.template data<T>()[at] = bad;
      CHECK_FALSE(all_finite(on_device(x)));
      x.template data<T>()[at] = before;
    }
}

TEST_CASE("elementwise results do not depend on the number of threads" * cpu_only()) {
  const Tensor x = random_tensor<float>({301, 257}, 1), row = random_tensor<float>({257}, 2);
  for (const auto& op : std::vector<std::function<Tensor()>>{
           [&] { return gelu(x); }, [&] { return gradus::exp(x); }, [&] { return mul(x, row); }})
    CHECK(same_bits(with_threads(1, op), with_threads(2, op)));
}

TEST_CASE("elementwise ops check their arguments") {
  const Tensor x = zeros({2, 3}), integers = zeros({2, 3}, {DType::int64});
  CHECK_ERROR(relu(Tensor()), "[relu] x is undefined (it was never given a value)");
  CHECK_ERROR(relu(integers), "[relu] x must be float32, float64 or bfloat16; got int64");
  CHECK_ERROR(clamp(x, 1, 0), "[clamp] low must not exceed high; got 1 and 0");
  CHECK_ERROR(clamp(x, nan32, 0), "[clamp] low must not exceed high");
  CHECK_ERROR(add(x, Tensor()), "[add] b is undefined");
  CHECK_ERROR(add(x, zeros({2})), "[add] shapes must broadcast");
  CHECK_ERROR(mul(x, zeros({2, 3}, {DType::float64})),
              "[mul] a and b must have one dtype; got float32 and float64");
  CHECK_ERROR(add(integers, integers),
              "[add] elements must be float32, float64 or bfloat16; got int64");
  CHECK_ERROR(less(x, integers), "[less] a and b must have one dtype; got float32 and int64");
  CHECK_ERROR(where(x, x, x), "[where] condition must be uint8; got float32");
  CHECK_ERROR(where(zeros({4}, {DType::uint8}), x, x), "[where] shapes must broadcast");
  CHECK_ERROR(all_finite(integers),
              "[all_finite] x must be float32, float64 or bfloat16; got int64");
  Tensor into = zeros({3});
  CHECK_ERROR(add_scaled(into, x), "[add_scaled] x must have shape [3]; got [2, 3]");
}
