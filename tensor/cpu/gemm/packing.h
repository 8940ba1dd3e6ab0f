// Words of register-blocked products (simd/inner_kernels.h) from rows of elements. Internal to the
// CPU's convolutions and products.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "tensor/cpu/scratch.h"
#include "tensor/cpu/simd/inner_kernels.h"

namespace gradus::cpu {

/// to = from, in the type of a word's elements.
template <class T, class E>
void copy_elements(const T* from, std::int64_t count, E* to) {
  if constexpr (std::is_same_v<T, E>) {
    std::copy_n(from, count, to);
  } else {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) to[i] = E(from[i]);
  }
}

/// Words of each two rows of `columns` elements: to[i][c] = (from[2 i][c], from[2 i + 1][c]), 0
/// beyond the last row.
inline void interleave_rows(const BFloat16* from, std::int64_t stride, std::int64_t rows,
                            std::int64_t columns, simd::BFloat16Pair* to, std::int64_t to_stride) {
  for (; rows >= 2; rows -= 2, from += 2 * stride, to += to_stride) {
    const BFloat16* const second = from + stride;
#pragma omp simd
    for (std::int64_t c = 0; c < columns; ++c) to[c] = {from[c], second[c]};
  }
  if (rows == 1) {
    for (std::int64_t c = 0; c < columns; ++c) to[c] = {from[c], BFloat16(0.0f)};
  }
}
/// Words of float are single elements: rows are copied.
template <class T>
void interleave_rows(const T* from, std::int64_t stride, std::int64_t rows, std::int64_t columns,
                     float* to, std::int64_t to_stride) {
  for (; rows > 0; --rows, from += stride, to += to_stride) copy_elements(from, columns, to);
}

}  // namespace gradus::cpu
