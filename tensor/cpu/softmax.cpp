// Softmax over the last axis, row by row; sums are taken in double.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "tensor/backend/instantiate.h"
#include "tensor/cpu/parallel.h"

namespace gradus::cpu {
namespace {

/// Calls function(offset) for the first element of each row, in parallel.
template <class Function>
void for_each_row(std::int64_t rows, std::int64_t columns, const Function& function) {
  // An exponential costs about eight times what an element of an elementwise kernel does.
  parallel_rows(rows, 8 * columns, [&](std::int64_t row) { function(row * columns); });
}

/// Largest element of a row; exp(x - max) is then at most 1. NaN may be passed over: it shows in
/// the sum.
template <class T>
Compute<T> row_max(const T* x, std::int64_t columns) {
  return *std::max_element(x, x + columns);
}

}  // namespace

template <class T>
void softmax(const T* x, T* y, std::int64_t rows, std::int64_t columns) {
  if (columns == 0) return;
  // Powers wait in y for their sum, or are computed again where y would round them.
  constexpr bool keeps = std::is_same_v<T, Compute<T>>;
  for_each_row(rows, columns, [&](std::int64_t row) {
    const Compute<T> largest = row_max(x + row, columns);
    double sum = 0;
    for (std::int64_t i = row; i < row + columns; ++i) {
      const Compute<T> power = std::exp(x[i] - largest);
      if constexpr (keeps) y[i] = power;
      sum += static_cast<double>(power);
    }
    const auto scale = static_cast<Compute<T>>(1 / sum);
    for (std::int64_t i = row; i < row + columns; ++i)
      y[i] = static_cast<T>((keeps ? Compute<T>{y[i]} : std::exp(x[i] - largest)) * scale);
  });
}

template <class T>
void softmax_backward(const T* dy, const T* y, T* dx, std::int64_t rows, std::int64_t columns) {
  for_each_row(rows, columns, [&](std::int64_t row) {
    double sum = 0;
    for (std::int64_t i = row; i < row + columns; ++i) sum += static_cast<double>(dy[i] * y[i]);
    for (std::int64_t i = row; i < row + columns; ++i) {
      dx[i] = static_cast<T>(y[i] * (dy[i] - static_cast<Compute<T>>(sum)));
    }
  });
}

template <class T>
void log_softmax(const T* x, T* y, std::int64_t rows, std::int64_t columns) {
  if (columns == 0) return;
  for_each_row(rows, columns, [&](std::int64_t row) {
    const Compute<T> largest = row_max(x + row, columns);
    double sum = 0;
    for (std::int64_t i = row; i < row + columns; ++i) {
      sum += static_cast<double>(std::exp(x[i] - largest));
    }
    const auto log_sum = static_cast<Compute<T>>(std::log(sum));
    for (std::int64_t i = row; i < row + columns; ++i) {
      y[i] = static_cast<T>(x[i] - largest - log_sum);
    }
  });
}

template <class T>
void log_softmax_backward(const T* dy, const T* y, T* dx, std::int64_t rows, std::int64_t columns) {
  for_each_row(rows, columns, [&](std::int64_t row) {
    double sum = 0;
    for (std::int64_t i = row; i < row + columns; ++i) sum += static_cast<double>(dy[i]);
    for (std::int64_t i = row; i < row + columns; ++i) {
      const Compute<T> power = std::exp(Compute<T>{y[i]});
      dx[i] = static_cast<T>(dy[i] - power * static_cast<Compute<T>>(sum));
    }
  });
}

GRADUS_INSTANTIATE_FLOATS(softmax)
GRADUS_INSTANTIATE_FLOATS(softmax_backward)
GRADUS_INSTANTIATE_FLOATS(log_softmax)
GRADUS_INSTANTIATE_FLOATS(log_softmax_backward)

}  // namespace gradus::cpu
