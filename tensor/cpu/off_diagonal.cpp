// Sums off the diagonals of square matrices x [batch, n, n], by blocks of rows.
#include <algorithm>
#include <vector>

#include "tensor/backend/instantiate.h"
#include "tensor/cpu/parallel.h"

namespace gradus::cpu {
namespace {

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
void off_diagonal_square_sum(const T* x, Compute<T>* y, std::int64_t batch, std::int64_t n) {
  const std::int64_t rows = batch * n, grain = rows_per_block(n);
  std::vector<double> sums(static_cast<std::size_t>(divide_up(rows, grain)));
  parallel_blocks(rows, grain, [&](std::int64_t begin, std::int64_t end) {
    double sum = 0;
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t i = row % n;
      sum += square_sum(x + row * n, 0, i) + square_sum(x + row * n, i + 1, n);
    }
    sums[static_cast<std::size_t>(begin / grain)] = sum;
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  *y = static_cast<Compute<T>>(total);
}

template <class T>
void off_diagonal_square_sum_backward(const Compute<T>* dy, const T* x, T* dx, std::int64_t batch,
                                      std::int64_t n) {
  using A = Compute<T>;
  const A scale = 2 * *dy;
  parallel_rows(batch * n, n, [=](std::int64_t row) {
    for (std::int64_t j = row * n; j < (row + 1) * n; ++j) dx[j] = T(scale * A(x[j]));
    dx[row * n + row % n] = T(A(0));
  });
}

GRADUS_INSTANTIATE_FLOATS(off_diagonal_square_sum)
GRADUS_INSTANTIATE_FLOATS(off_diagonal_square_sum_backward)

}  // namespace gradus::cpu
