// The passes of batch norm (simd/inner_kernels.h) as plain loops: for double, and what the
// vectorised ones are compared with.
#pragma once

#include <algorithm>

#include "tensor/cpu/simd/inner_kernels.h"

namespace gradus::cpu::plain {

using simd::Normalisation;

/// sum[c] = sum over rows of term(c, offset of row)
template <class A, class Term>
void sum_rows(std::int64_t rows, std::int64_t C, A* sum, const Term& term) {
  std::fill_n(sum, C, A(0));
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t c = 0; c < C; ++c) sum[c] += term(c, row * C);
  }
}

template <class T>
void moments(const T* x, const Compute<T>* origin, std::int64_t rows, std::int64_t C,
             Compute<T>* mean, Compute<T>* deviations) {
  using A = Compute<T>;
  const auto value = [=](std::int64_t c, std::int64_t row) { return A(x[row + c]) - origin[c]; };
  sum_rows(rows, C, mean, value);
  for (std::int64_t c = 0; c < C; ++c) mean[c] /= static_cast<A>(rows);
  sum_rows(rows, C, deviations, [&](std::int64_t c, std::int64_t row) {
    const A deviation = value(c, row) - mean[c];
    return deviation * deviation;
  });
}

template <class A>
A normalised(const Normalisation<A>& n, std::int64_t c, A x) {
  return (x - n.mean[c]) * n.scale[c] + n.shift[c];
}

template <class T>
void apply(const T* x, const Normalisation<Compute<T>>& n, const T* residual, bool relu, T* y,
           std::int64_t rows, std::int64_t C) {
  using A = Compute<T>;
  for (std::int64_t row = 0; row < rows * C; row += C) {
    for (std::int64_t c = 0; c < C; ++c) {
      A value = normalised(n, c, A(x[row + c]));
      if (residual != nullptr) value += A(residual[row + c]);
      y[row + c] = T(relu && value < 0 ? A(0) : value);  // NaN stays NaN
    }
  }
}

template <class T>
void gradient_sums(const T* dy, const T* dy2, const T* x, const T* y, bool relu,
                   const Normalisation<Compute<T>>& n, T* masked, std::int64_t rows, std::int64_t C,
                   Compute<T>* sum_dy, Compute<T>* sum_dy_x) {
  using A = Compute<T>;
  const auto gradient = [=](std::int64_t c, std::int64_t row) {
    if (!relu) return A(dy[row + c]);
    const A output = y != nullptr ? A(y[row + c]) : normalised(n, c, A(x[row + c]));
    const A sum = dy2 != nullptr ? A(dy[row + c]) + A(dy2[row + c]) : A(dy[row + c]);
    return output > 0 ? sum : A(0);
  };
  sum_rows(rows, C, sum_dy, gradient);
  sum_rows(rows, C, sum_dy_x, [&](std::int64_t c, std::int64_t row) {
    return gradient(c, row) * (A(x[row + c]) - n.mean[c]);
  });
  if (y == nullptr) return;
  for (std::int64_t row = 0; row < rows * C; row += C) {
    for (std::int64_t c = 0; c < C; ++c) masked[row + c] = T(gradient(c, row));
  }
}

template <class T>
void input_gradient(const T* dy, const T* x, bool mask_of_x, const Normalisation<Compute<T>>& n,
                    const Compute<T>* dshift, const Compute<T>* slope, T* dx, std::int64_t rows,
                    std::int64_t C) {
  using A = Compute<T>;
  for (std::int64_t row = 0; row < rows * C; row += C) {
    for (std::int64_t c = 0; c < C; ++c) {
      const A value = A(x[row + c]);
      const A g = mask_of_x && !(normalised(n, c, value) > 0) ? A(0) : A(dy[row + c]);
      dx[row + c] = T(n.scale[c] * (g - dshift[c] - (value - n.mean[c]) * slope[c]));
    }
  }
}

template <class T>
inline constexpr simd::NormKernels<T> norm_kernels = {&moments<T>, &apply<T>, &gradient_sums<T>,
                                                      &input_gradient<T>};

}  // namespace gradus::cpu::plain
