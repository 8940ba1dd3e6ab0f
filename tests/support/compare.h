// Comparisons that op tests share; tensors may lie on any device.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <gradus/tensor/tensor.h>

namespace gradus::test {

/// All elements in float64, from any device.
inline std::vector<double> doubles_of(const Tensor& x) {
  return x.to(Device::cpu).to(DType::float64).to_vector<double>();
}

/// Largest |a - b| over the elements, computed in double; infinity where the shapes differ or where
/// one is NaN and the other is not.
inline double max_difference(const Tensor& a, const Tensor& b) {
  if (!a.defined() || a.shape() != b.shape()) return std::numeric_limits<double>::infinity();
  const auto x = doubles_of(a), y = doubles_of(b);
  double largest = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i]) && std::isnan(y[i])) continue;
    const double difference = std::abs(x[i] - y[i]);
    if (std::isnan(difference)) return std::numeric_limits<double>::infinity();
    largest = std::max(largest, difference);
  }
  return largest;
}

/// Largest magnitude.
inline double max_abs(const Tensor& a) {
  double largest = 0;
  for (const double x : doubles_of(a)) largest = std::max(largest, std::abs(x));
  return largest;
}

/// max |actual - expected| / max |expected|: 1 for zeros instead of the result, whatever its size;
/// infinity where max_difference is. 0 if both are zero.
inline double relative_error(const Tensor& actual, const Tensor& expected) {
  const double largest = max_difference(actual, expected);
  return largest == 0 ? 0 : largest / max_abs(expected);
}

/// The same of arrays.
template <class A, class B>
double relative_error(const std::vector<A>& actual, const std::vector<B>& expected) {
  const auto tensor = [](const auto& values) {
    return from_vector(std::vector<double>(values.begin(), values.end()), {std::ssize(values)});
  };
  return relative_error(tensor(actual), tensor(expected));
}

/// |actual - expected| / |expected| in Euclidean norms; 0 if both are zero.
inline double rms_error(const Tensor& actual, const Tensor& expected) {
  if (!actual.defined() || actual.shape() != expected.shape())
    return std::numeric_limits<double>::infinity();
  const auto x = doubles_of(actual), y = doubles_of(expected);
  double error = 0, size = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    error += (x[i] - y[i]) * (x[i] - y[i]);
    size += y[i] * y[i];
  }
  return error == 0 ? 0 : std::sqrt(error / size);
}

/// Whether two tensors, each on any device, have the same bits.
inline bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape() || a.dtype() != b.dtype()) return false;
  const Tensor host_a = a.to(Device::cpu), host_b = b.to(Device::cpu);
  const auto* x = static_cast<const unsigned char*>(host_a.raw());
  const auto* y = static_cast<const unsigned char*>(host_b.raw());
  return std::equal(x, x + a.bytes(), y);
}

/// The result of function() on a number of threads; the previous number is restored.
template <class Function>
auto with_threads(int threads, Function function) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(threads);
  auto result = function();
  omp_set_num_threads(before);
  return result;
}

}  // namespace gradus::test
