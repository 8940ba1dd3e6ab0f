// Kernels on every device take elements at any address, in any number, and rows of any length: what
// vectors of 16 bytes, warps and blocks do not divide.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>

#include <gradus/tensor/ops.h>
#include <gradus/tensor/unary.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/near.h"
#include "tests/support/numbers.h"

using namespace gradus;
using namespace gradus::test;

namespace {

#define FLOATING float, double, BFloat16

/// The same elements at an address that is not a multiple of 16 bytes.
Tensor misaligned(const Tensor& x) {
  Tensor buffer = empty({x.numel() + 1}, options_of(x));
  Tensor view = buffer.slice(1, x.numel() + 1);
  view.copy_from(x.reshape({x.numel()}));
  return view.reshape(x.shape());
}

constexpr VarianceOptions biased{.correction = 0};

/// Values on [-1, 1) of type T on the tests' device.
template <class T>
Tensor draw(const Shape& shape, unsigned seed = 1) {
  return random_tensor<double>(shape, seed).to(dtype_of<T>);
}

/// Checks that an op of one tensor gives the same bits for any alignment.
template <class Op>
void check_alignment(const Tensor& x, Op op) {
  CHECK(same_bits(op(misaligned(x)), op(x)));
}

/// A few roundings of float and double, two of BFloat16, relative.
template <class T>
constexpr double rounding = 0x1p-20;
template <>
constexpr double rounding<double> = 1e-14;
template <>
constexpr double rounding<BFloat16> = 0x1p-7;

/// Checks values of type T against float64 on the CPU.
template <class T>
void check_close(const Tensor& actual, const Tensor& expected) {
  CHECK(actual.dtype() == dtype_of<T>);
  CHECK(relative_error(actual, expected) <= rounding<T>);
}

Tensor doubles(const Tensor& x) { return x.to(Device::cpu).to(DType::float64); }

Tensor indices(const std::vector<std::int64_t>& values) {
  return from_vector(values, {static_cast<std::int64_t>(values.size())});
}

}  // namespace

TEST_CASE_TEMPLATE("elementwise kernels at any address and size", T, FLOATING) {
  for (const std::int64_t n : {0, 1, 2, 7, 8, 9, 33, 1003}) {
    CAPTURE(n);
    const Tensor x = draw<T>({n}), y = draw<T>({n}, 2);
    const Tensor mask = less(x, y);
    check_alignment(x, [](const Tensor& a) { return gelu(a); });
    check_alignment(x, [&](const Tensor& a) { return unary_backward(Tanh{}, a, y); });
    check_alignment(x, [&](const Tensor& a) { return unary_backward(Affine{2, 1}, a, {}); });
    check_alignment(x, [&](const Tensor& a) { return a * y; });
    check_alignment(x, [&](const Tensor& a) { return less(y, a); });
    check_alignment(x, [&](const Tensor& a) { return where(mask, a, y); });
    check_alignment(mask, [&](const Tensor& condition) { return where(condition, x, y); });
    for (const DType to : {DType::float32, DType::float64, DType::bfloat16, DType::uint8})
      check_alignment(abs(x) * 100, [&](const Tensor& a) { return a.to(to); });
    Tensor aligned = y.clone(), shifted = misaligned(y);
    add_scaled(aligned, x, 0.5);
    add_scaled(shifted, x, 0.5);
    CHECK(same_bits(shifted, aligned));
  }
}

TEST_CASE_TEMPLATE("fill keeps to its elements", T, float, double, BFloat16, std::uint8_t,
                   std::int64_t) {
  for (const std::int64_t n : {0, 1, 7, 16, 33}) {
    Tensor buffer = zeros({n + 2}, device_options(dtype_of<T>));
    buffer.slice(1, n + 1).fill(3);
    std::vector<double> expected(static_cast<std::size_t>(n + 2), 3.0);
    expected.front() = expected.back() = 0;
    CHECK(doubles(buffer).to_vector<double>() == expected);
  }
}

TEST_CASE_TEMPLATE("broadcasts at any address", T, FLOATING) {
  const std::pair<Shape, Shape> patterns[] = {
      {{6, 16}, {16}},        {{6, 16}, {6, 1}},   {{6, 16}, {}},
      {{2, 3, 8}, {2, 1, 8}}, {{2, 3, 8}, {3, 1}}, {{5, 7}, {7}},
      {{4, 1, 8}, {3, 1}},    {{33}, {1}},         {{3, 1, 16}, {3, 5, 1}}};
  for (const auto& [shape_a, shape_b] : patterns) {
    CAPTURE(shape_a.rank());
    const Tensor a = draw<T>(shape_a), b = draw<T>(shape_b, 2);
    check_close<T>(a - b, doubles(a) - doubles(b));
    check_close<T>(b * a, doubles(b) * doubles(a));
    check_alignment(a, [&, &right = b](const Tensor& x) { return x - right; });
    check_alignment(b, [&, &left = a](const Tensor& x) { return left - x; });
  }
}

TEST_CASE_TEMPLATE("reductions of every form", T, FLOATING) {
  const std::pair<Shape, Axes> cases[] = {
      {{1}, {0}},         {{37}, {0}},        {{9000}, {0}},     {{20'001}, {0}},
      {{3, 1025}, {1}},   {{5, 40}, {1}},     {{2, 9003}, {1}},  {{9, 2, 8}, {1}},
      {{2, 70, 16}, {1}}, {{2, 900, 3}, {1}}, {{3000, 24}, {0}}, {{601, 67}, {0}},
      {{4, 5}, {0}},      {{0, 3}, {0}},      {{3, 0}, {1}},     {{2, 3, 4, 5}, {0, 2}},
  };
  for (const auto& [shape, axes] : cases) {
    CAPTURE(shape.numel());
    CAPTURE(shape.rank());
    const Tensor x = draw<T>(shape) + 1;  // so that sums do not cancel
    const Tensor exact = doubles(x);
    check_close<T>(sum(x, axes), sum(exact, axes));
    check_close<T>(sum(misaligned(x), axes), sum(exact, axes));
    if (shape.numel() == 0) continue;
    check_close<T>(mean(x, axes), mean(exact, axes));
    check_close<T>(variance(x, axes, biased), variance(exact, axes, biased));
    check_close<T>(variance(misaligned(x), axes, biased), variance(exact, axes, biased));
    const MaxResult largest = max(x, axes), expected = max(exact, axes);
    CHECK(max_difference(largest.values, expected.values) == 0);
    CHECK(same_bits(largest.indices, expected.indices));
    const Tensor dx = max_backward(largest.values, largest.indices, shape, axes);
    CHECK(max_difference(dx, max_backward(expected.values, expected.indices, shape, axes)) == 0);
  }
}

TEST_CASE("long float32 sums keep their digits") {
  const std::int64_t n = pick_size(3'000'000, 400'000);
  const Tensor positive = random_tensor<float>({n}, 1, 0, 1);
  const double expected = sum(doubles(positive)).item<double>();
  CHECK(sum(positive).item<float>() == near(expected));
  const Tensor columns = positive.reshape({n / 2, 2});
  CHECK(relative_error(sum(columns, {0}), sum(doubles(columns), {0})) < 5e-7);
  // A mean of 1000 and a deviation of 1: sum(x^2) - sum(x)^2 / n would keep no digit.
  const Tensor shifted = positive + 1000;
  const double deviation = variance(doubles(shifted)).item<double>();
  CHECK(variance(shifted).item<float>() == near(deviation));
}

TEST_CASE("sums of infinities") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> values(5000, 1.0f);
  values[4000] = infinity;
  CHECK(sum(device_vector(values, {5000})).item<float>() == infinity);
  CHECK(sum(device_vector(values, {2500, 2}), {0}).to_vector<float>()[0] == infinity);
  values[17] = -infinity;
  CHECK(std::isnan(sum(device_vector(values, {5000})).item<float>()));
}

TEST_CASE_TEMPLATE("maxima: the first of equals, NaN before all", T, FLOATING) {
  const auto nan = std::numeric_limits<float>::quiet_NaN();
  for (const Shape& shape : {Shape{200}, Shape{200, 1}, Shape{200, 3}}) {
    const std::int64_t columns = shape.numel() / 200;
    std::vector<double> values(static_cast<std::size_t>(shape.numel()), -1.0);
    const auto set = [&](std::int64_t row, double value) {
      for (std::int64_t c = 0; c < columns; ++c) values[row * columns + c] = value;
    };
    const auto found = [&] {
      const Tensor x = on_device(from_vector(values, shape).to(dtype_of<T>));
      return max(x, {0}).indices.template to_vector<std::int64_t>();
    };
    const auto expected = [&](std::int64_t row) {
      return std::vector<std::int64_t>(static_cast<std::size_t>(columns), row);
    };
    CHECK(found() == expected(0));
    for (const std::int64_t row : {167, 70, 69}) set(row, 2);
    CHECK(found() == expected(69));
    for (const std::int64_t row : {199, 132, 100}) set(row, nan);
    CHECK(found() == expected(100));
  }
}

TEST_CASE_TEMPLATE("softmax of rows of any length", T, FLOATING) {
  for (const Shape& shape : {Shape{3, 1}, Shape{9, 31}, Shape{2, 33}, Shape{2, 1024},
                             Shape{3, 1025}, Shape{1, 3001}, Shape{0, 5}, Shape{5, 0}}) {
    CAPTURE(shape.numel());
    const Tensor x = draw<T>(shape) * 4, dy = draw<T>(shape, 2);
    const Tensor y = softmax(x), log_y = log_softmax(x);
    check_close<T>(y, softmax(doubles(x)));
    check_close<T>(log_y, log_softmax(doubles(x)));
    check_close<T>(softmax_backward(dy, y), softmax_backward(doubles(dy), doubles(y)));
    check_close<T>(log_softmax_backward(dy, log_y),
                   log_softmax_backward(doubles(dy), doubles(log_y)));
    check_alignment(x, [](const Tensor& a) { return softmax(a); });
  }
}

TEST_CASE_TEMPLATE("pooling at any address and of any channels", T, FLOATING) {
  for (const std::int64_t channels : {1, 3, 8, 16}) {
    CAPTURE(channels);
    const Pool2dOptions options{.kernel = 3, .stride = 2, .padding = 1, .count_include_pad = false};
    const Shape shape{2, 7, 6, channels};
    const Tensor x = draw<T>(shape);
    const MaxResult largest = max_pool2d(x, options);
    const MaxResult expected = max_pool2d(doubles(x), options);
    CHECK(max_difference(largest.values, expected.values) == 0);
    CHECK(same_bits(largest.indices, expected.indices));
    const Tensor dy = draw<T>(largest.values.shape(), 2);
    check_close<T>(max_pool2d_backward(dy, largest.indices, shape, options),
                   max_pool2d_backward(doubles(dy), expected.indices, shape, options));
    check_close<T>(avg_pool2d(x, options), avg_pool2d(doubles(x), options));
    check_close<T>(avg_pool2d_backward(dy, shape, options),
                   avg_pool2d_backward(doubles(dy), shape, options));
    check_alignment(x, [&](const Tensor& a) { return max_pool2d(a, options).indices; });
    check_alignment(x, [&](const Tensor& a) { return avg_pool2d(a, options); });
    check_close<T>(avg_pool2d_backward(misaligned(dy), shape, options),
                   avg_pool2d_backward(doubles(dy), shape, options));
    check_alignment(dy, [&](const Tensor& a) {
      return max_pool2d_backward(a, largest.indices, shape, options);
    });
  }
}

TEST_CASE_TEMPLATE("all_finite finds every place", T, FLOATING) {
  for (const std::int64_t n : {1, 7, 16, 1003}) {
    for (const std::int64_t at : {std::int64_t{0}, n / 2, n - 1}) {
      Tensor x = draw<T>({n});
      CHECK(all_finite(x));
      x.slice(at, at + 1)
          .fill(at % 2 == 0 ? std::numeric_limits<double>::infinity()
                            : std::numeric_limits<double>::quiet_NaN());
      CHECK(!all_finite(x));
      CHECK(!all_finite(misaligned(x)));
    }
  }
  CHECK(all_finite(draw<T>({0})));
}

TEST_CASE_TEMPLATE("copies of rows of any number of bytes", T, float, double, BFloat16,
                   std::uint8_t, std::int64_t) {
  for (const std::int64_t columns : {1, 2, 3, 4, 8, 16, 33}) {
    CAPTURE(columns);
    const Tensor on_host =
        random_tensor<double>({5, columns}, 1, 0, 200).to(Device::cpu).to(dtype_of<T>);
    const Tensor x = on_device(on_host), odd = misaligned(x);
    const auto expect = [](const Tensor& actual, const Tensor& expected) {
      CHECK(same_bits(actual, expected));
    };
    const Tensor pair = concat({on_host, on_host}, 1);
    expect(concat({x, odd}, 1), pair);
    expect(slice(concat({x, odd}, 1), 1, 1, columns), slice(on_host, 1, 1, columns));
    expect(transpose(odd), transpose(on_host));
    expect(permute(concat({x, odd}, 0).reshape({2, 5, columns}), {1, 0, 2}),
           permute(concat({on_host, on_host}, 0).reshape({2, 5, columns}), {1, 0, 2}));
    expect(broadcast_to(odd.reshape({5, 1, columns}), {5, 3, columns}),
           broadcast_to(on_host.reshape({5, 1, columns}), {5, 3, columns}));
    const Tensor order = indices({4, 0, 0, 3});
    expect(gather_rows(odd, order), gather_rows(on_host, order));
  }
}

TEST_CASE("row numbers may lie on either device") {
  const Tensor x = draw<float>({5, 3}), order = indices({4, 0, 0, 3});
  const Tensor rows = gather_rows(x, order);
  CHECK(rows.device() == test_device());
  CHECK(same_bits(gather_rows(x, on_device(order)), rows));
  CHECK(same_bits(scatter_add_rows(rows, on_device(order), 5), scatter_add_rows(rows, order, 5)));
  const Tensor classes = one_hot(order, 5, device_options());
  CHECK(classes.device() == test_device());
  CHECK(same_bits(one_hot(on_device(order), 5, device_options()), classes));
  CHECK(same_bits(one_hot(on_device(order), 5), one_hot(order, 5)));
  CHECK_ERROR(gather_rows(x, on_device(indices({0, 5}))),
              "[gather_rows] index 5 at position 1 is not in [0, 5)");
  CHECK_ERROR(scatter_add_rows(rows, on_device(indices({0, -1, 0, 0})), 5),
              "[scatter_add_rows] index -1 at position 1 is not in [0, 5)");
}

TEST_CASE("rows are added in order") {
  const Tensor x = device_vector<float>({1e8f, 1, -1e8f, 5}, {4, 1});
  const Tensor y = scatter_add_rows(x, indices({1, 1, 1, 0}), 3);
  CHECK(y.to_vector<float>() == std::vector<float>{5, 0, 0});
}

TEST_CASE("a mask, places or labels on another device are refused") {
  if (test_device() == Device::cpu) return;
  const Tensor x = draw<float>({3, 4});
  CHECK_ERROR(where(ones({3, 4}, {DType::uint8}), x, x),
              "[where] condition and a must lie on one device; got cpu and cuda");
  const MaxResult largest = max(x, {1});
  CHECK_ERROR(max_backward(largest.values, largest.indices.to(Device::cpu), {3, 4}, {1}),
              "[max_backward] indices must be int64 on cuda; got int64 on cpu");
  const Tensor labels = indices({0, 1, 2});
  CHECK_ERROR(softmax_cross_entropy_backward(softmax_cross_entropy(x, labels), x, labels),
              "[softmax_cross_entropy_backward] labels must be int64 on cuda; got int64 on cpu");
  CHECK_ERROR(softmax_cross_entropy(x.to(Device::cpu), device_vector<std::int64_t>({0, 4, 2}, {3})),
              "[softmax_cross_entropy] labels must be in [0, 4); got 4");
}
