// Determinants of positive definite matrices that are known, ill-conditioned, or not definite.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include <gradus/tensor/ops.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/near.h"

namespace gradus::test {
namespace {

/// Hilbert's matrix 1 / (i + j + 1) and a small multiple of the identity: condition number about
/// 1.5 / shift.
Tensor ill_conditioned(std::int64_t n, double shift) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      values.push_back(1.0 / static_cast<double>(i + j + 1) + (i == j ? shift : 0));
    }
  }
  return from_vector<double>(values, {n, n});
}

TEST_CASE("logdet of a matrix that float holds badly, in float") {
  // In float32 the factorisation itself would lose all digits of the smallest eigenvalues.
  const Tensor x = ill_conditioned(12, 0x1p-20).to(DType::float32);
  const LogDet exact = logdet(on_device(x.to(DType::float64)));
  const LogDet single = logdet(on_device(x));
  const double expected = exact.value.to(Device::cpu).item<double>();
  CHECK(expected < -100);
  CHECK(single.value.to(Device::cpu).item<float>() == near(expected, 1e-7));
  CHECK(relative_error(single.inverse, exact.inverse) <= 1e-7);
}

TEST_CASE("logdet: the inverse times the matrix is the identity") {
  const Tensor x = on_device(ill_conditioned(9, 0.1));
  const Tensor identity = one_hot(arange(0, 9), 9, DType::float64);
  CHECK(relative_error(matmul(x, logdet(x).inverse), identity) < 1e-13);
}

TEST_CASE("logdet of several matrices is that of each, for any number of threads") {
  std::vector<Tensor> matrices;
  for (int i = 0; i < 8; ++i) matrices.push_back(ill_conditioned(20, 0.1 + i).reshape({1, 20, 20}));
  const Tensor x = on_device(concat(matrices, 0));
  const LogDet all = logdet(x);
  for (const int threads : {1, 3}) {
    const LogDet again = with_threads(threads, [&] { return logdet(x); });
    CHECK(same_bits(again.value, all.value));
    CHECK(same_bits(again.inverse, all.inverse));
  }
  for (std::int64_t i = 0; i < 8; ++i) {
    const LogDet alone = logdet(x.slice(i, i + 1));
    CHECK(same_bits(alone.value, all.value.slice(i, i + 1)));
    CHECK(same_bits(alone.inverse, all.inverse.slice(i, i + 1)));
  }
}

TEST_CASE("logdet of nothing, and of matrices of size 0") {
  CHECK(logdet(on_device(zeros({0, 3, 3}))).value.shape() == Shape{0});
  const LogDet empty = logdet(on_device(zeros({2, 0, 0}, {DType::float64})));
  CHECK(empty.value.to_vector<double>() == std::vector<double>{0, 0});  // the empty product is 1
}

TEST_CASE("logdet of a matrix that is not positive definite") {
  Tensor x = zeros({3, 2, 2});
  const std::vector<float> values = {2, 1, 1, 2, 1, 2, 2, 1, 1, 0, 0, 1};  // the second: -3
  x.copy_from(from_vector<float>(values, {3, 2, 2}));
  if (test_device() == Device::cpu) {
    CHECK_THROWS_WITH_AS(logdet(x),
                         "[logdet] matrix 1 of 3 is not positive definite; x is [3, 2, 2]", Error);
  } else {
    const LogDet result = logdet(on_device(x));
    const auto value = result.value.to_vector<float>();
    CHECK(value[0] == near(std::log(3.0)));
    CHECK(std::isnan(value[1]));
    CHECK(value[2] == 0);
    const auto inverse = result.inverse.to_vector<float>();
    CHECK(std::isnan(inverse[4]));
    CHECK(inverse[8] == 1);
  }
  x.fill(std::numeric_limits<float>::quiet_NaN());
  for (const float value : logdet(on_device(x)).value.to_vector<float>()) CHECK(std::isnan(value));
}

TEST_CASE("logdet refuses other shapes and types") {
  CHECK_ERROR(logdet(Tensor()), "[logdet] x is undefined");
  CHECK_THROWS_AS(logdet(on_device(zeros({2, 3}))), Error);
  CHECK_THROWS_AS(logdet(on_device(zeros({3}))), Error);
  CHECK_THROWS_AS(logdet(on_device(zeros({2, 2, 2, 2}))), Error);
  CHECK_THROWS_AS(logdet(on_device(zeros({2, 2}, {DType::bfloat16}))), Error);
  CHECK_THROWS_AS(logdet(on_device(zeros({2, 2}, {DType::int64}))), Error);
}

}  // namespace
}  // namespace gradus::test
