// Vectors of the level that is compiled: GRADUS_SIMD_WIDTH floats, in namespace GRADUS_SIMD_LEVEL.
// Only the sources of a level (inner_kernels.cpp) include this: it has no guard against other
// levels.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "tensor/cpu/simd/inner_kernels.h"

namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL {

inline constexpr int width = GRADUS_SIMD_WIDTH;

/// Columns of a product that are computed together.
inline constexpr int panel = 2 * width;

using Vector [[gnu::vector_size(width * sizeof(float))]] = float;
using Bits [[gnu::vector_size(width * sizeof(float))]] = std::uint32_t;
using Half [[gnu::vector_size(width * sizeof(float) / 2)]] = std::uint16_t;  // bfloat16s
using Halves [[gnu::vector_size(width * sizeof(float))]] = std::uint16_t;

/// function(0), ..., function(count - 1), with arguments that are constants to the compiler: arrays
/// indexed by them stay in registers.
template <int count, class Function>
[[gnu::always_inline]] inline void unroll(const Function& function) {
  [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
    (function(std::integral_constant<int, i>{}), ...);
  }
  (std::make_integer_sequence<int, count>{});
}

/// function(i, lanes) for the vectors of n elements: lanes is a constant where it is `width`.
template <class Function>
[[gnu::always_inline]] inline void for_each_vector(std::int64_t n, const Function& function) {
  std::int64_t i = 0;
  for (; i + width <= n; i += width) function(i, std::integral_constant<std::int64_t, width>{});
  if (i < n) function(i, n - i);
}

/// function(begin, end) for the parts of [0, rows) of at most `most` rows, shared out evenly.
template <int most, class Function>
[[gnu::always_inline]] inline void for_each_part(std::int64_t rows, const Function& function) {
  const std::int64_t parts = (rows + most - 1) / most;
  for (std::int64_t part = 0; part < parts; ++part) {
    function(rows * part / parts, rows * (part + 1) / parts);
  }
}

// --- memory: whole vectors, or the first `lanes` elements, the others being 0 -------------------

[[gnu::always_inline]] inline Vector load(const float* from) {
  Vector x;
  std::memcpy(&x, from, sizeof(x));
  return x;
}
[[gnu::always_inline]] inline Vector load(const float* from, std::int64_t lanes) {
  if (lanes >= width) return load(from);
  Vector x{};
  std::memcpy(&x, from, static_cast<std::size_t>(lanes) * sizeof(float));
  return x;
}
[[gnu::always_inline]] inline void store(float* to, const Vector& x) {
  std::memcpy(to, &x, sizeof(x));
}
[[gnu::always_inline]] inline void store(float* to, const Vector& x, std::int64_t lanes) {
  if (lanes >= width) return store(to, x);
  std::memcpy(to, &x, static_cast<std::size_t>(lanes) * sizeof(float));
}

// --- bfloat16 ---------------------------------------------------------------------------------

/// Rounded to bfloat16, ties to even, in the upper halves; the lower halves are 0. NaN stays NaN.
[[gnu::always_inline]] inline Bits round_bits(const Vector& x) {
  const Bits bits = reinterpret_cast<Bits>(x);
  const Bits rounded = bits + 0x7FFFu + ((bits >> 16) & 1u);
  return (x == x ? rounded : bits | 0x400000u) & 0xFFFF0000u;
}

[[gnu::always_inline]] inline Half to_bfloat16(const Vector& x) {
#if defined(__AVX512BF16__)
  return reinterpret_cast<Half>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(x)));
#else
  return __builtin_convertvector(round_bits(x) >> 16, Half);
#endif
}

/// The elements of the halves of x by turns.
template <int... i>
[[gnu::always_inline]] inline Halves interleave(const Halves& x, std::integer_sequence<int, i...>) {
  return __builtin_shufflevector(x, x, (i / 2 + i % 2 * width)...);
}

/// Words of two bfloat16s: `first` in the lower, `second` in the upper halves.
[[gnu::always_inline]] inline Bits to_pairs(const Vector& first, const Vector& second) {
#if defined(__AVX512BF16__)
  const auto rounded = reinterpret_cast<Halves>(
      _mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(second), reinterpret_cast<__m512>(first)));
  return reinterpret_cast<Bits>(interleave(rounded, std::make_integer_sequence<int, 2 * width>{}));
#else
  return (round_bits(first) >> 16) | round_bits(second);
#endif
}

[[gnu::always_inline]] inline Vector load(const BFloat16* from, std::int64_t lanes) {
  Half x{};
  if (lanes >= width) {
    std::memcpy(&x, from, sizeof(x));
  } else {
    std::memcpy(&x, from, static_cast<std::size_t>(lanes) * sizeof(BFloat16));
  }
  return reinterpret_cast<Vector>(__builtin_convertvector(x, Bits) << 16);
}
[[gnu::always_inline]] inline void store(BFloat16* to, const Vector& x, std::int64_t lanes) {
  const Half half = to_bfloat16(x);
  if (lanes >= width) {
    std::memcpy(to, &half, sizeof(half));
  } else {
    std::memcpy(to, &half, static_cast<std::size_t>(lanes) * sizeof(BFloat16));
  }
}

}  // namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL
