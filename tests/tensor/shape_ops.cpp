#include <doctest/doctest.h>

#include <gradus/tensor/ops.h>
#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"

using namespace gradus;
using namespace gradus::test;

namespace {

using Integers = std::vector<std::int64_t>;

Tensor indices(const Integers& values) {
  return device_vector(values, {static_cast<std::int64_t>(values.size())});
}

/// 0, 1, 2, ... in a shape.
Tensor counting(const Shape& shape, DType dtype = DType::int64) {
  return arange(0, shape.numel(), device_options(dtype)).reshape(shape);
}

}  // namespace

TEST_CASE("permute reorders axes") {
  const std::pair<Shape, std::vector<int>> cases[] = {
      {{}, {}},
      {{5}, {0}},
      {{3, 4}, {1, 0}},
      {{3, 4}, {0, 1}},
      {{2, 3, 4}, {2, 0, 1}},
      {{2, 3, 4}, {-1, -3, -2}},
      {{2, 0, 4}, {2, 0, 1}},
      {{2, 3, 4, 5}, {0, 3, 1, 2}},
      {{1, 3, 1, 5}, {3, 2, 1, 0}},
      {{201, 199}, {1, 0}},
      {{40'000, 2}, {1, 0}},
  };
  for (const auto& [shape, axes] : cases) {
    CAPTURE(to_string(shape));
    const Tensor x = counting(shape);
    const Tensor y = permute(x, axes);
    Integers expected;
    Shape permuted;
    for (int axis : axes) permuted.push_back(shape[axis]);
    for_each_position(permuted, [&](const Position& position) {
      Position source(position.size());
      for (std::size_t i = 0; i < axes.size(); ++i) source[shape.normalize(axes[i])] = position[i];
      expected.push_back(flat_index(shape, source));
    });
    CHECK(y.shape() == permuted);
    CHECK(y.to_vector<std::int64_t>() == expected);
  }
  const Tensor x = counting({2, 3});
  CHECK_ERROR(permute(x, {0}), "[permute] shape [2, 3] needs 2 axes; got 1");
  CHECK_ERROR(permute(x, {0, -2}), "[permute] axis -2 is given twice");
  CHECK_ERROR(permute(x, {0, 2}), "axis 2 is out of range for shape [2, 3]");
  CHECK_ERROR(permute(Tensor(), {}), "[permute] x is undefined");
}

TEST_CASE("transpose exchanges two axes") {
  CHECK(transpose(counting({2, 3})).to_vector<std::int64_t>() == Integers{0, 3, 1, 4, 2, 5});
  CHECK(transpose(counting({2, 3, 4}), 0, -1).shape() == Shape{4, 3, 2});
  CHECK(same_bits(transpose(counting({2, 3, 4}), 0, 2), permute(counting({2, 3, 4}), {2, 1, 0})));
  CHECK_ERROR(transpose(counting({3})), "axis -2 is out of range for shape [3]");
}

TEST_CASE_TEMPLATE("broadcast_to repeats and sum_to is its adjoint", T, float, double) {
  const std::pair<Shape, Shape> cases[] = {
      {{}, {}},         {{}, {3}},           {{}, {2, 3}},           {{1}, {4}},
      {{3}, {2, 3}},    {{2, 1}, {2, 3}},    {{1, 3}, {2, 3}},       {{1, 1}, {2, 3}},
      {{2, 3}, {2, 3}}, {{3, 1}, {2, 3, 4}}, {{2, 1, 4}, {2, 3, 4}}, {{1, 3, 1}, {2, 3, 4}},
      {{1}, {0}},       {{3}, {0, 3}},       {{1, 130}, {300, 130}}, {{300, 1}, {300, 130}}};
  for (const auto& [small, large] : cases) {
    CAPTURE(to_string(small));
    CAPTURE(to_string(large));
    const Tensor x = random_tensor<T>(small, 1);
    const auto values = x.template to_vector<T>();
    const Tensor dy = random_tensor<T>(large, 2, 0, 1);
    const auto gradients = dy.template to_vector<T>();
    std::vector<T> repeated;
    std::vector<double> sums(values.size(), 0.0);
    for_each_position(large, [&](const Position& position) {
      const std::int64_t from = flat_index(small, position);
      sums[from] += gradients[repeated.size()];
      repeated.push_back(values[from]);
    });
    CHECK(broadcast_to(x, large).shape() == large);
    CHECK(broadcast_to(x, large).template to_vector<T>() == repeated);
    CHECK(relative_error(sum_to(dy, small), from_vector(sums, small)) <= 1e-6);
  }
  const Tensor x = zeros({2, 3});
  CHECK(broadcast_to(x, {2, 3}).shares_storage(x));
  CHECK_ERROR(broadcast_to(x, {3}), "[broadcast_to] [2, 3] does not broadcast to [3]");
  CHECK_ERROR(broadcast_to(x, {2, 4}), "[broadcast_to] shapes must broadcast");
  CHECK_ERROR(sum_to(x, {2, 2, 3}), "[sum_to] [2, 2, 3] is not the sum of [2, 3]");
  CHECK_ERROR(sum_to(Tensor(), {}), "[sum_to] x is undefined");
}

TEST_CASE("sum_to over several axes rounds bfloat16 once") {
  const Tensor x = from_vector<float>({256, 1, -256, 0}, {2, 2}).to(DType::bfloat16);
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{1, 1}}) {
    CAPTURE(to_string(shape));
    CHECK(sum_to(x, shape).shape() == shape);
    CHECK(sum_to(x, shape).to(DType::float32).item<float>() == 1);
  }
  const Tensor between = x.reshape({2, 1, 2}).to(test_device());
  CHECK(sum_to(between, {1, 1, 1}).to(DType::float32).item<float>() == 1);
}

TEST_CASE("concat joins along any axis, and slices give the pieces back") {
  for (int axis : {0, 1, 2, -1}) {
    CAPTURE(axis);
    std::vector<Tensor> pieces;
    for (std::int64_t size : {2, 0, 1, 3}) {
      Shape shape{4, 5, 6};
      shape[axis] = size;
      pieces.push_back(affine(counting(shape, DType::float32), 1, 1000.0 * (size + 1)));
    }
    const Tensor whole = concat(std::span<const Tensor>(pieces), axis);
    CHECK(whole.size(axis) == 6);
    std::int64_t begin = 0;
    for (const Tensor& piece : pieces) {
      const std::int64_t size = piece.size(axis);
      CHECK(same_bits(slice(whole, axis, begin, begin + size), piece));
      begin += size;
    }
  }
  CHECK(concat({counting({2})}).to_vector<std::int64_t>() == Integers{0, 1});
  const Tensor x = counting({2, 3});
  CHECK_ERROR(concat({}), "[concat] there must be at least one tensor");
  CHECK_ERROR(concat({x, counting({2, 4})}),
              "[concat] sizes must match except along axis 0; got [2, 3] and [2, 4]");
  CHECK_ERROR(concat({x, counting({2})}), "[concat] sizes must match");
  CHECK_ERROR(concat({x, Tensor()}), "[concat] tensor 1 is undefined");
  CHECK_ERROR(concat({x, counting({2, 3}, DType::float32)}),
              "[concat] tensor 0 and tensor 1 must have one dtype; got int64 and float32");
  CHECK_ERROR(concat({x, x}, 2), "axis 2 is out of range for shape [2, 3]");
}

TEST_CASE("slice takes a range of an axis, and slice_backward puts it back") {
  const Tensor x = counting({2, 4, 3});
  CHECK(slice(x, 1, 1, 3).to_vector<std::int64_t>() ==
        Integers{3, 4, 5, 6, 7, 8, 15, 16, 17, 18, 19, 20});
  CHECK(slice(x, -1, 2, 3).to_vector<std::int64_t>() == Integers{2, 5, 8, 11, 14, 17, 20, 23});
  CHECK(slice(x, 0, 1, 2).shares_storage(x));
  CHECK(slice(x, 1, 4, 4).shape() == Shape{2, 0, 3});
  for (int axis : {0, 1, 2}) {
    const Tensor dy = affine(slice(x, axis, 1, 2).to(DType::float64), 1, 1);
    const Tensor dx = slice_backward(dy, x.shape(), axis - 3, 1);
    CHECK(same_bits(slice(dx, axis, 1, 2), dy));
    CHECK(max_difference(sum(dx), sum(dy)) == 0);  // the others are zero
  }
  CHECK_ERROR(slice(x, 1, 2, 5), "[slice] [2, 5) is not within axis 1 of shape [2, 4, 3]");
  CHECK_ERROR(slice(x, 1, -1, 2), "[slice] [-1, 2) is not within axis 1");
  CHECK_ERROR(slice(x, 3, 0, 1), "axis 3 is out of range");
  CHECK_ERROR(slice_backward(zeros({2, 2}), {2, 4, 3}, 1, 0),
              "[slice_backward] dy must have shape");
  CHECK_ERROR(slice_backward(zeros({2, 2, 4}), {2, 4, 3}, 1, 0),
              "[slice_backward] dy must have shape [2, 2, 3]; got [2, 2, 4]");
  CHECK_ERROR(slice_backward(zeros({2, 2, 3}), {2, 4, 3}, 1, 3),
              "[slice_backward] [3, 5) is not within axis 1 of shape [2, 4, 3]");
}

TEST_CASE_TEMPLATE("gather_rows picks rows of any dtype", T, float, double, std::uint8_t,
                   std::int64_t) {
  const Tensor x = counting({4, 3}).to(dtype_of<T>);
  CHECK(gather_rows(x, indices({3, 0, 3})).template to_vector<T>() ==
        std::vector<T>{9, 10, 11, 0, 1, 2, 9, 10, 11});
  CHECK(gather_rows(x, indices({})).shape() == Shape{0, 3});
  CHECK(gather_rows(x.reshape({12}), indices({7})).template to_vector<T>() == std::vector<T>{7});
}

TEST_CASE_TEMPLATE("scatter_add_rows adds rows, also to the same place", T, float, double) {
  const Tensor dy = counting({3, 2}, dtype_of<T>);
  CHECK(scatter_add_rows(dy, indices({2, 0, 2}), 4).template to_vector<T>() ==
        std::vector<T>{2, 3, 0, 0, 4, 6, 0, 0});
  const Tensor nothing = zeros({0, 2}, device_options());
  CHECK(scatter_add_rows(nothing, indices({}), 2).shape() == Shape{2, 2});
  CHECK(scatter_add_rows(nothing, indices({}), 0).shape() == Shape{0, 2});
  // Wide rows: several blocks of columns.
  const Tensor wide = random_tensor<T>({50, 1000}, 1);
  Integers where_to;
  for (std::int64_t i = 0; i < 50; ++i) where_to.push_back(i * 7 % 3);
  const auto op = [&] { return scatter_add_rows(wide, indices(where_to), 3); };
  CHECK(same_bits(with_threads(1, op), with_threads(2, op)));
  std::vector<double> sums(3 * 1000);
  const std::vector<double> values = wide.to(DType::float64).template to_vector<double>();
  for (std::size_t i = 0; i < values.size(); ++i)
    sums[static_cast<std::size_t>(where_to[i / 1000]) * 1000 + i % 1000] += values[i];
  CHECK(relative_error(op(), from_vector(sums, {3, 1000})) <= 1e-6);
}

TEST_CASE("one_hot") {
  CHECK(one_hot(indices({2, 0}), 3).to_vector<float>() == std::vector<float>{0, 0, 1, 1, 0, 0});
  CHECK(one_hot(indices({1}), 2, DType::uint8).dtype() == DType::uint8);
  CHECK(one_hot(indices({}), 3).shape() == Shape{0, 3});
}

TEST_CASE("eye") {
  for (const std::int64_t n : {0, 1, 2, 5}) {
    CAPTURE(n);
    const Tensor matrix = eye(n, device_options());
    REQUIRE(matrix.shape() == Shape{n, n});
    const auto values = matrix.to_vector<float>();
    for (std::int64_t i = 0; i < n * n; ++i) CHECK(values[i] == (i / n == i % n ? 1 : 0));
  }
  CHECK(eye(1, {DType::uint8}).dtype() == DType::uint8);
  CHECK_ERROR(eye(-1), "[eye] n must not be negative; got -1");
}

TEST_CASE("indices are checked") {
  const Tensor x = counting({4, 3}, DType::float32);
  CHECK_ERROR(gather_rows(x, indices({0, 4})),
              "[gather_rows] index 4 at position 1 is not in [0, 4)");
  CHECK_ERROR(gather_rows(x, indices({-1})), "[gather_rows] index -1 at position 0");
  CHECK_ERROR(gather_rows(x, zeros({2})),
              "[gather_rows] index must be int64 of shape [n]; got float32");
  CHECK_ERROR(gather_rows(x, indices({1}).reshape({1, 1})), "got int64 [1, 1]");
  CHECK_ERROR(gather_rows(zeros({}), indices({0})), "[gather_rows] x must have a leading axis");
  CHECK_ERROR(gather_rows(Tensor(), indices({0})), "[gather_rows] x is undefined");
  CHECK_ERROR(scatter_add_rows(x, indices({0, 1, 2, 5}), 5),
              "[scatter_add_rows] index 5 at position 3");
  CHECK_ERROR(scatter_add_rows(x, indices({0}), 5),
              "[scatter_add_rows] dy needs a row for each index; got [4, 3] for 1 indices");
  CHECK_ERROR(scatter_add_rows(zeros({0, 2}), indices({}), -1),
              "[scatter_add_rows] the rows must not be negative; got -1");
  CHECK_ERROR(one_hot(indices({3}), 3), "[one_hot] index 3 at position 0 is not in [0, 3)");
  CHECK_ERROR(one_hot(indices({}), 0), "[one_hot] there must be at least one class; got 0");
  CHECK_ERROR(one_hot(Tensor(), 3), "[one_hot] index is undefined");
}
