// Sums off the diagonal of a square matrix x [n, n], by blocks of rows.
#include <algorithm>
#include <vector>

#include "tensor/backend/instantiate.h"
#include "tensor/cpu/parallel.h"

namespace gradus::cpu {
namespace {

/// Rows a block: about elementwise_grain elements.
std::int64_t rows_per_block(std::int64_t n) {
  return std::max<std::int64_t>(1, elementwise_grain / std::max<std::int64_t>(1, n));
}

/// sum of x_i^2 over [begin, end), in double.
template <class T>
double square_sum(const T* x, std::int64_t begin, std::int64_t end) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = begin; i < end; ++i) {
    const double value = static_cast<double>(static_cast<Compute<T>>(x[i]));
    sum += value * value;
  }
  return sum;
}

}  // namespace

template <class T>
void off_diagonal_square_sum(const T* x, Compute<T>* y, std::int64_t n) {
  const std::int64_t grain = rows_per_block(n);
  std::vector<double> sums(static_cast<std::size_t>(divide_up(n, grain)));
  parallel_blocks(n, grain, [&](std::int64_t begin, std::int64_t end) {
    double sum = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      sum += square_sum(x + i * n, 0, i) + square_sum(x + i * n, i + 1, n);
    }
    sums[static_cast<std::size_t>(begin / grain)] = sum;
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  *y = static_cast<Compute<T>>(total);
}

template <class T>
void off_diagonal_square_sum_backward(const Compute<T>* dy, const T* x, T* dx, std::int64_t n) {
  using A = Compute<T>;
  const A scale = 2 * *dy;
  parallel_blocks(n, rows_per_block(n), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t j = i * n; j < (i + 1) * n; ++j) dx[j] = T(scale * A(x[j]));
      dx[i * n + i] = T(A(0));
    }
  });
}

GRADUS_FLOATS(GRADUS_INSTANTIATE_OFF_DIAGONAL)

}  // namespace gradus::cpu
