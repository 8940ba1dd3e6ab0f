// Memory for register-blocked products (simd/inner_kernels.h): scratch of 32-bit words, rows spread
// over the cache. Internal to the CPU's convolutions and products.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

#include <gradus/tensor/tensor.h>
#include "tensor/backend/geometry.h"
#include "tensor/backend/kernels.h"
#include "tensor/cpu/range.h"
#include "tensor/cpu/simd/inner_kernels.h"

namespace gradus::cpu {

inline std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
inline std::int64_t round_up(std::int64_t a, std::int64_t b) { return divide_up(a, b) * b; }

/// A distance between rows of at least `words` words of 32 bits: an odd number of cache lines,
/// since rows at powers of two would compete for the same places in a cache.
inline std::int64_t spread(std::int64_t words) {
  constexpr std::int64_t line = 16;
  return (divide_up(words, line) | 1) * line;
}

inline Tensor scratch_words(const Shape& shape) { return {shape, DType::float32, Device::cpu}; }

/// Words of 32 bits for each thread of a parallel region.
class ThreadScratch {
 public:
  explicit ThreadScratch(std::int64_t words)
      : words_(spread(words)),
        memory_(scratch_words({omp_get_max_threads(), words_})),
        data_(memory_.data<float>()) {}

  /// The calling thread's part.
  float* get() const { return data_ + omp_get_thread_num() * words_; }

 private:
  std::int64_t words_;
  Tensor memory_;
  float* data_;
};

/// Words of each two rows of `columns` elements: to[i][c] = (from[2 i][c], from[2 i + 1][c]), 0
/// beyond the last row. What lies `ahead` elements on is prefetched, unless that is 0.
inline void interleave_rows(const BFloat16* from, std::int64_t stride, std::int64_t rows,
                            std::int64_t columns, simd::BFloat16Pair* to, std::int64_t to_stride,
                            std::int64_t ahead = 0) {
  constexpr std::int64_t line = 64 / sizeof(BFloat16);
  for (; rows >= 2; rows -= 2, from += 2 * stride, to += to_stride) {
    for (std::int64_t c = 0; ahead != 0 && c < columns; c += line) {
      __builtin_prefetch(from + ahead + c, 0, 2);  // to the second-level cache
      __builtin_prefetch(from + ahead + stride + c, 0, 2);
    }
    const BFloat16* const second = from + stride;
#pragma omp simd
    for (std::int64_t c = 0; c < columns; ++c) to[c] = {from[c], second[c]};
  }
  if (rows == 1) {
    for (std::int64_t c = 0; c < columns; ++c) to[c] = {from[c], BFloat16(0.0f)};
  }
}
/// Words of float are single elements: rows are copied.
inline void interleave_rows(const float* from, std::int64_t stride, std::int64_t rows,
                            std::int64_t columns, float* to, std::int64_t to_stride) {
  for (; rows > 0; --rows, from += stride, to += to_stride) std::copy_n(from, columns, to);
}

}  // namespace gradus::cpu
