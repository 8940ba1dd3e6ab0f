// Rows of sums and words on their way to and from products, of the level that is compiled.
#pragma once

#include <algorithm>
#include <bit>

#include "tensor/cpu/simd/vector.h"

namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL {

/// The StoreRows of this level, for `columns`, which is a constant where it is `panel`.
template <class T, class Columns>
[[gnu::always_inline]] inline void store_columns(const float* sums, std::int64_t stride,
                                                 const float* bias, const StoredRows<T>& y,
                                                 Columns columns) {
  constexpr int vectors = panel / width;
  Vector shift[vectors] = {};
  if (bias != nullptr) {
    unroll<vectors>([&](auto v) __attribute__((always_inline)) {
      const std::int64_t lanes = columns - v * width;
      if (lanes > 0) shift[v] = load(bias + v * width, lanes);
    });
  }
  const auto [data, rows, all_columns, row_stride, lanes, lane_stride] = y;
  T* first = data;
  for (std::int64_t row = 0; row < rows; row += lanes, first += row_stride) {
    const std::int64_t end = std::min(row + lanes, rows);
    T* to = first;
    for (std::int64_t i = row; i < end; ++i, to += lane_stride, sums += stride) {
      unroll<vectors>([&](auto v) __attribute__((always_inline)) {
        const std::int64_t count = columns - v * width;
        if (count > 0) store(to + v * width, load(sums + v * width, count) + shift[v], count);
      });
    }
  }
}

template <class T>
void store_rows(const float* sums, std::int64_t stride, const float* bias, const StoredRows<T>& y) {
  if (y.columns == panel) {
    constexpr std::integral_constant<std::int64_t, panel> whole;
    return store_columns(sums, stride, bias, y, whole);
  }
  StoredRows<T> part = y;  // the weights that convolutions pack have more columns than a panel
  for (std::int64_t c = 0; c < y.columns; c += panel, part.data += panel) {
    store_columns(sums + c, stride, bias == nullptr ? nullptr : bias + c, part,
                  std::min<std::int64_t>(panel, y.columns - c));
  }
}

/// Of two rows that lie `distance` apart, what the first or the second becomes when every other
/// `distance` elements of both change places.
template <int distance, bool second, int... j>
[[gnu::always_inline]] inline Bits exchange(const Bits& a, const Bits& b,
                                            std::integer_sequence<int, j...>) {
  constexpr int keep = second ? width : 0;
  return __builtin_shufflevector(
      a, b,
      (((j & distance) != 0) == second ? keep + j : j + (second ? distance : width - distance))...);
}

/// to = the transpose of from, [width, width] words, rows so many bytes apart.
[[gnu::always_inline]] inline void transpose_square(const char* from, std::int64_t from_stride,
                                                    char* to, std::int64_t to_stride) {
  Bits x[width];
  unroll<width>([&](auto i) __attribute__((always_inline)) {
    std::memcpy(&x[i], from + i * from_stride, sizeof(Bits));
  });
  unroll<std::countr_zero(unsigned{width})>([&](auto round) __attribute__((always_inline)) {
    constexpr int distance = 1 << round;
    unroll<width>([&](auto i) __attribute__((always_inline)) {
      if constexpr ((i & distance) == 0) {
        constexpr std::make_integer_sequence<int, width> elements;
        const Bits a = x[i], b = x[i + distance];
        x[i] = exchange<distance, false>(a, b, elements);
        x[i + distance] = exchange<distance, true>(a, b, elements);
      }
    });
  });
  unroll<width>([&](auto i) __attribute__((always_inline)) {
    std::memcpy(to + i * to_stride, &x[i], sizeof(Bits));
  });
}

/// Kernels::transpose at this level.
inline void transpose(const void* from, std::int64_t from_stride, std::int64_t rows,
                      std::int64_t columns, void* to, std::int64_t to_stride) {
  const auto* const x = static_cast<const char*>(from);
  auto* const y = static_cast<char*>(to);
  constexpr std::int64_t word = 4;
  for (std::int64_t i = 0; i < rows; i += width) {
    for (std::int64_t j = 0; j < columns; j += width) {
      const char* const block = x + (i * from_stride + j) * word;
      char* const into = y + (j * to_stride + i) * word;
      if (rows - i >= width && columns - j >= width) {
        transpose_square(block, from_stride * word, into, to_stride * word);
      } else {
        for (std::int64_t r = 0; r < std::min<std::int64_t>(rows - i, width); ++r) {
          for (std::int64_t c = 0; c < std::min<std::int64_t>(columns - j, width); ++c) {
            std::memcpy(into + (c * to_stride + r) * word, block + (r * from_stride + c) * word,
                        word);
          }
        }
      }
    }
  }
}

}  // namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL
