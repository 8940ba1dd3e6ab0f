#include <gradus/tensor/tensor.h>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>

#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"

using namespace gradus;
using namespace gradus::test;

TEST_CASE("an undefined tensor has nothing and says so") {
  const Tensor x;
  CHECK_FALSE(x.defined());
  // Or "if (equal(a, b))", whose result is a tensor, would compile and always hold.
  static_assert(!std::is_constructible_v<bool, Tensor>);
  CHECK(x.raw() == nullptr);
  CHECK(x.numel() == 0);
  Tensor y;
  CHECK_ERROR(x.data<float>(), "[tensor] the tensor is undefined (it was never given a value)");
  CHECK_ERROR(x.item<float>(), "[item] the tensor is undefined");
  CHECK_ERROR(x.to_vector<float>(), "[tensor] the tensor is undefined");
  CHECK_ERROR(x.reshape({1}), "[reshape] the tensor is undefined");
  CHECK_ERROR(x.slice(0, 0), "[slice] the tensor is undefined");
  CHECK_ERROR(x.clone(), "[clone] the tensor is undefined");
  CHECK_ERROR(x.to(DType::int64), "[to] the tensor is undefined");
  CHECK_ERROR(x.to(Device::cuda), "[to] the tensor is undefined");
  CHECK_ERROR(y.fill(1), "[fill] the tensor is undefined");
}

TEST_CASE_TEMPLATE("factories", T, float, double, std::uint8_t, std::int64_t) {
  const TensorOptions options = device_options(dtype_of<T>);
  CHECK(zeros({2, 3}, options).template to_vector<T>() == std::vector<T>(6, T{0}));
  CHECK(ones({3}, options).template to_vector<T>() == std::vector<T>(3, T{1}));
  CHECK(full({}, 7, options).template item<T>() == T{7});
  CHECK(full({2, 0}, 7, options).template to_vector<T>().empty());
  CHECK(arange(2, 5, options).template to_vector<T>() == std::vector<T>{2, 3, 4});
  CHECK(arange(2, 2, options).shape() == Shape{0});
  // Several parallel blocks.
  CHECK(full({70'001}, 3, options).template to_vector<T>() == std::vector<T>(70'001, T{3}));
  const Tensor x = device_vector(std::vector<T>{1, 2, 3, 4}, {2, 2});
  CHECK(x.dtype() == dtype_of<T>);
  CHECK(x.device() == test_device());
  CHECK(x.bytes() == 4 * sizeof(T));
  CHECK(x.template to_vector<T>()[3] == T{4});
}

TEST_CASE("copies share elements, clones do not") {
  Tensor a = zeros({3}, device_options());
  const Tensor handle = a;
  const Tensor clone = a.clone();
  CHECK_FALSE(a.unique());
  CHECK(clone.unique());
  CHECK(a.shares_storage(handle));
  CHECK_FALSE(a.shares_storage(clone));
  a.fill(1);
  CHECK(handle.to_vector<float>() == std::vector<float>{1, 1, 1});
  CHECK(clone.to_vector<float>() == std::vector<float>{0, 0, 0});
}

TEST_CASE("reshape is a view, and infers one size") {
  const Tensor x = on_device(arange(0, 12));
  const Tensor y = x.reshape({3, -1});
  CHECK(y.shape() == Shape{3, 4});
  CHECK(y.shares_storage(x));
  CHECK(y.to_vector<std::int64_t>() == x.to_vector<std::int64_t>());
  CHECK(x.reshape({-1}).shape() == Shape{12});
  CHECK(x.reshape({2, 1, 6}).shape() == Shape{2, 1, 6});
  CHECK(x.slice(0, 1).reshape({}).item<std::int64_t>() == 0);
  CHECK(zeros({0, 3}).reshape({-1, 5}).shape() == Shape{0, 5});
  CHECK_ERROR(
      x.reshape({5, -1}),
      "[reshape] cannot infer the size given as -1: 12 elements of shape [12] do not divide "
      "by 5");
  CHECK_ERROR(zeros({0}).reshape({0, -1}), "cannot infer the size");
  CHECK_ERROR(x.reshape({-1, -1}), "[reshape] only one size may be -1");
  CHECK_ERROR(x.reshape({5, 2}), "[reshape] [12] has 12 elements, [5, 2] has 10");
  CHECK_ERROR(x.reshape({-2, 6}), "sizes must not be negative");
  const std::int64_t huge = std::int64_t{1} << 40;
  CHECK_ERROR(x.reshape({huge, huge, -1}), "more elements than can be counted");
}

TEST_CASE("a slice is a view of rows") {
  Tensor x = on_device(arange(0, 12)).reshape({4, 3});
  const Tensor middle = x.slice(1, 3);
  CHECK(middle.shape() == Shape{2, 3});
  CHECK(middle.to_vector<std::int64_t>() == std::vector<std::int64_t>{3, 4, 5, 6, 7, 8});
  CHECK(middle.slice(1, 2).to_vector<std::int64_t>() == std::vector<std::int64_t>{6, 7, 8});
  x.slice(1, 2).copy_from(full({1, 3}, -1, device_options(DType::int64)));
  CHECK(middle.to_vector<std::int64_t>()[0] == -1);
  CHECK(x.slice(4, 4).shape() == Shape{0, 3});
  CHECK(zeros({0, 3}).slice(0, 0).shape() == Shape{0, 3});
  CHECK_ERROR(x.slice(2, 5), "[slice] rows [2, 5) are not within shape [4, 3]");
  CHECK_ERROR(x.slice(-1, 2), "[slice] rows [-1, 2)");
  CHECK_ERROR(x.slice(3, 2), "[slice] rows [3, 2)");
  CHECK_ERROR(zeros({}).slice(0, 0), "[slice] a scalar has no leading axis");
}

TEST_CASE("copies between slices that overlap") {
  const auto copied = [](std::int64_t to, std::int64_t from) {
    const Tensor x = on_device(arange(0, 6));
    x.slice(to, to + 4).copy_from(x.slice(from, from + 4));
    return x.to_vector<std::int64_t>();
  };
  CHECK(copied(2, 0) == std::vector<std::int64_t>{0, 1, 0, 1, 2, 3});
  CHECK(copied(0, 2) == std::vector<std::int64_t>{2, 3, 4, 5, 4, 5});
  CHECK(copied(1, 1) == std::vector<std::int64_t>{0, 1, 2, 3, 4, 5});
}

TEST_CASE("elements convert between types") {
  const Tensor x = device_vector<double>({0, 1, 2.75, 200}, {4});
  CHECK(x.to(DType::float32).to_vector<float>() == std::vector<float>{0, 1, 2.75f, 200});
  CHECK(x.to(DType::int64).to_vector<std::int64_t>() == std::vector<std::int64_t>{0, 1, 2, 200});
  CHECK(x.to(DType::uint8).to_vector<std::uint8_t>() == std::vector<std::uint8_t>{0, 1, 2, 200});
  CHECK(x.to(DType::float64).shares_storage(x));
  CHECK(on_device(arange(0, 70'001)).to(DType::float64).to_vector<double>().back() == 70'000.0);
  CHECK(zeros({0}, device_options()).to(DType::float64).shape() == Shape{0});
  CHECK(x.to(test_device()).shares_storage(x));
}

TEST_CASE("wrong types and sizes are errors") {
  Tensor x = zeros({2, 2});
  CHECK_ERROR(x.data<double>(), "[tensor] elements are float32, but were asked for as float64");
  CHECK_ERROR(x.to_vector<std::uint8_t>(), "elements are float32, but were asked for as uint8");
  CHECK_ERROR(x.item<float>(), "[item] the tensor must have one element; got shape [2, 2]");
  CHECK_ERROR(x.copy_from(zeros({4})),
              "[copy_from] shapes and types must match; got [2, 2] float32 and [4] float32");
  CHECK_ERROR(x.copy_from(zeros({2, 2}, {DType::float64})),
              "got [2, 2] float32 and [2, 2] float64");
  CHECK_ERROR(from_vector(std::vector<float>{1, 2}, {3}),
              "[from_span] shape [3] needs 3 elements; got 2");
  CHECK_ERROR(arange(3, 2), "[arange] begin must not exceed end; got 3 and 2");
  // More bytes than a pointer can address, though the elements can be counted.
  CHECK_ERROR(
      empty({std::int64_t{1} << 61}, {DType::float64}),
      "[tensor] shape [2305843009213693952] of float64 has more bytes than can be addressed");
}
