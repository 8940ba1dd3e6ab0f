// The inner loops of Winograd convolution: a register-blocked matrix product, and the transforms of
// tiles, vectorised over channels. Internal to cpu/winograd.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <utility>

#include "tensor/winograd_matrices.h"

namespace gradus::cpu::winograd {

using namespace gradus::winograd;

// --- vectors ---------------------------------------------------------------------------------

// As many floats as a register of the processor compiled for holds, and how many rows of two such
// registers of sums leave room for the factors (32 registers with AVX-512, 16 otherwise).
#if defined(__AVX512F__)
inline constexpr int width = 16, most_rows = 14;
#elif defined(__AVX__)
inline constexpr int width = 8, most_rows = 6;
#else
inline constexpr int width = 4, most_rows = 6;
#endif
/// Columns of a product that are computed together.
inline constexpr int panel = 2 * width;

using Vector [[gnu::vector_size(width * sizeof(float))]] = float;

inline Vector load(const float* from) {
  Vector x;
  std::memcpy(&x, from, sizeof(x));
  return x;
}
inline void store(float* to, const Vector& x) { std::memcpy(to, &x, sizeof(x)); }

/// The first `lanes` elements, at most `width`; the others are 0.
inline Vector load(const float* from, std::int64_t lanes) {
  if (lanes >= width) return load(from);
  Vector x{};
  std::memcpy(&x, from, static_cast<std::size_t>(lanes) * sizeof(float));
  return x;
}
inline void store(float* to, const Vector& x, std::int64_t lanes) {
  if (lanes >= width) return store(to, x);
  std::memcpy(to, &x, static_cast<std::size_t>(lanes) * sizeof(float));
}

/// function(0), ..., function(count - 1), with arguments that are constants to the compiler: arrays
/// indexed by them stay in registers.
template <int count, class Function>
[[gnu::always_inline]] inline void unroll(const Function& function) {
  [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
    (function(std::integral_constant<int, i>{}), ...);
  }
  (std::make_integer_sequence<int, count>{});
}

// --- matrix product --------------------------------------------------------------------------

/// A matrix [rows, depth] with any strides, to be multiplied from the left.
struct LeftMatrix {
  const float* data;
  std::int64_t row_stride, step;  // between rows; along the depth
};

/// c [rows, panel] = (add ? c : 0) + a [rows, depth] b [depth, panel], with the sums in registers.
/// The strides of b and c are those between their rows.
template <int rows>
void multiply_rows(const LeftMatrix& a, const float* b, std::int64_t b_stride, std::int64_t depth,
                   float* c, std::int64_t c_stride, bool add) {
  Vector sum[rows][2];
  unroll<rows>([&](auto r) __attribute__((always_inline)) {
    sum[r][0] = add ? load(c + r * c_stride) : Vector{};
    sum[r][1] = add ? load(c + r * c_stride + width) : Vector{};
  });
  const float* x = a.data;
  const std::int64_t row_stride = a.row_stride, step = a.step;
  for (std::int64_t k = 0; k < depth; ++k) {
    const Vector left = load(b), right = load(b + width);
    unroll<rows>([&](auto r) __attribute__((always_inline)) {
      const float factor = x[r * row_stride];
      sum[r][0] += factor * left;
      sum[r][1] += factor * right;
    });
    x += step;
    b += b_stride;
  }
  unroll<rows>([&](auto r) __attribute__((always_inline)) {
    store(c + r * c_stride, sum[r][0]);
    store(c + r * c_stride + width, sum[r][1]);
  });
}

using MultiplyRows = void (*)(const LeftMatrix&, const float*, std::int64_t, std::int64_t, float*,
                              std::int64_t, bool);
/// multiply_rows for 0 (never called), 1, ..., most_rows rows.
inline constexpr auto multiply_rows_table = []<int... i>(std::integer_sequence<int, i...>) {
  return std::array<MultiplyRows, sizeof...(i) + 1>{nullptr, &multiply_rows<i + 1>...};
}
(std::make_integer_sequence<int, most_rows>{});

/// The same for any number of rows, shared out evenly.
inline void multiply_panel(const LeftMatrix& a, std::int64_t rows, const float* b,
                           std::int64_t b_stride, std::int64_t depth, float* c,
                           std::int64_t c_stride, bool add) {
  const std::int64_t parts = (rows + most_rows - 1) / most_rows;
  for (std::int64_t part = 0; part < parts; ++part) {
    const std::int64_t begin = rows * part / parts, end = rows * (part + 1) / parts;
    multiply_rows_table[end - begin]({a.data + begin * a.row_stride, a.row_stride, a.step}, b,
                                     b_stride, depth, c + begin * c_stride, c_stride, add);
  }
}

// --- Y = L X L^T -----------------------------------------------------------------------------

// The finite points are 0 and the pairs +-p at places 1, 2 and 3, 4, and what belongs to -p differs
// from what belongs to p only in the sign of odd powers: each pair shares its products.

/// y = L x for a matrix with a row for each point.
template <class L>
[[gnu::always_inline]] inline void to_points(const Vector (&x)[L::columns],
                                             Vector (&y)[tile_side]) {
  const auto row_product = [&](auto row, int parity) __attribute__((always_inline)) {
    Vector sum{};
    unroll<L::columns>([&](auto j) __attribute__((always_inline)) {
      constexpr float factor = static_cast<float>(L::at(row, j));
      if constexpr (factor != 0) {
        if (parity < 0 || j % 2 == parity) sum += factor * x[j];
      }
    });
    return sum;
  };
  constexpr int all = -1;
  y[0] = row_product(std::integral_constant<int, 0>{}, all);
  unroll<finite_points / 2>([&](auto pair) __attribute__((always_inline)) {
    constexpr std::integral_constant<int, 1 + 2 * pair> row;
    const Vector even = row_product(row, 0), odd = row_product(row, 1);
    y[row] = even + odd;
    y[row + 1] = even - odd;
  });
  y[finite_points] = row_product(std::integral_constant<int, finite_points>{}, all);
}

/// y = L x for a matrix with a column for each point.
template <class L>
[[gnu::always_inline]] inline void from_points(const Vector (&x)[tile_side], Vector (&y)[L::rows]) {
  Vector even[finite_points], odd[finite_points];
  unroll<finite_points / 2>([&](auto pair) __attribute__((always_inline)) {
    constexpr int i = 1 + 2 * pair;
    even[i] = x[i] + x[i + 1];
    odd[i] = x[i] - x[i + 1];
  });
  unroll<L::rows>([&](auto k) __attribute__((always_inline)) {
    Vector sum{};
    unroll<tile_side>([&](auto i) __attribute__((always_inline)) {
      constexpr float factor = static_cast<float>(L::at(k, i));
      if constexpr (factor != 0) {
        if constexpr (i == 0 || i == finite_points) {
          sum += factor * x[i];
        } else if constexpr (i % 2 == 1) {
          sum += factor * (k % 2 == 0 ? even[i] : odd[i]);
        }
      }
    });
    y[k] = sum;
  });
}

template <class L>
[[gnu::always_inline]] inline void apply(const Vector (&x)[L::columns], Vector (&y)[L::rows]) {
  if constexpr (L::rows == tile_side) {
    to_points<L>(x, y);
  } else {
    from_points<L>(x, y);
  }
}

/// Y = L X L^T, each element a vector of channels: load_element(i, j) gives X's,
/// store_element(i, j, y) takes Y's.
template <class L, class Load, class Store>
[[gnu::always_inline]] inline void transform(const Load& load_element, const Store& store_element) {
  Vector half[L::rows][L::columns];  // L X
  for (int j = 0; j < L::columns; ++j) {
    Vector x[L::columns], y[L::rows];
    unroll<L::columns>([&](auto i) __attribute__((always_inline)) { x[i] = load_element(i, j); });
    apply<L>(x, y);
    unroll<L::rows>([&](auto i) __attribute__((always_inline)) { half[i][j] = y[i]; });
  }
  for (int i = 0; i < L::rows; ++i) {
    Vector x[L::columns], y[L::rows];
    unroll<L::columns>([&](auto j) __attribute__((always_inline)) { x[j] = half[i][j]; });
    apply<L>(x, y);
    unroll<L::rows>([&](auto j) __attribute__((always_inline)) { store_element(i, j, y[j]); });
  }
}

}  // namespace gradus::cpu::winograd
