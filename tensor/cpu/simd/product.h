// The matrix products of the level that is compiled: register-blocked, or of tiles.
#pragma once

#include "tensor/cpu/simd/tile_product.h"

namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL {

// Of each type of word: how many rows of two vectors of sums leave room in the registers for the
// factors, whether the right one's rows are prefetched, what a word of the left and a vector of
// words of the right matrix become, and sum += left * right.

// 32 registers with AVX-512, 16 otherwise.
struct FloatProduct {
  static constexpr int most_rows = width == 16 ? 14 : 6;
  static constexpr bool prefetches = true;  // right factors, which may be images in memory
  using Left = float;
  using Right = Vector;
  [[gnu::always_inline]] static Left left(const float* x) { return *x; }
  [[gnu::always_inline]] static Right right(const float* x) { return load(x); }
  [[gnu::always_inline]] static void accumulate(Vector& sum, const Left& a, const Right& b) {
    sum += a * b;
  }
};

/// sum + a b for the two elements of each word, the second ones first. Without the instruction,
/// plain C++ takes its place, for tests.
[[gnu::always_inline]] inline Vector add_pair_products(const Vector& sum, const Bits& a,
                                                       const Bits& b) {
#if defined(__AVX512BF16__)
  return reinterpret_cast<Vector>(_mm512_dpbf16_ps(
      reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b)));
#else
  const auto first = [](const Bits& x) { return reinterpret_cast<Vector>(x << 16); };
  const auto second = [](const Bits& x) { return reinterpret_cast<Vector>(x & 0xFFFF0000u); };
  return sum + second(a) * second(b) + first(a) * first(b);
#endif
}

struct PairProduct {
  static constexpr int most_rows = 14;
  static constexpr bool prefetches = false;  // right factors are pairs, made just before
  using Left = Bits;
  using Right = Bits;
  [[gnu::always_inline]] static Left left(const BFloat16Pair* x) {
    std::uint32_t word;
    std::memcpy(&word, x, sizeof(word));
    return word - Bits{};
  }
  [[gnu::always_inline]] static Right right(const BFloat16Pair* x) {
    Bits words;
    std::memcpy(&words, x, sizeof(words));
    return words;
  }
  [[gnu::always_inline]] static void accumulate(Vector& sum, const Left& a, const Right& b) {
    sum = add_pair_products(sum, a, b);
  }
};

template <class Word>
using ProductOf = std::conditional_t<std::is_same_v<Word, float>, FloatProduct, PairProduct>;

/// Sums of a fixed number of rows by two vectors of columns, which stay in registers.
template <int rows>
using Sums = Vector[rows][2];

/// sum += a b. Of the rows of a, each four have a pointer, and three offsets from it: pointers or
/// offsets of all rows would not find room in the registers.
template <class Word, int rows>
[[gnu::always_inline]] inline void accumulate_product(const LeftMatrix<Word>& a, const Word* b,
                                                      std::int64_t b_stride, const Depth& depth,
                                                      Sums<rows>& sum) {
  using Product = ProductOf<Word>;
  constexpr int together = 4, groups = (rows + together - 1) / together;
  const std::int64_t row_stride = a.row_stride, step = a.step;
  std::int64_t run = 0;
  do {  // at least one run: were there a way around the loop, sums would leave the registers
    const Word* x[groups];
    unroll<groups>([&](auto g) __attribute__((always_inline)) {
      x[g] = a.data + depth.left_begin(run) + g * together * row_stride;
      asm("" : "+r"(x[g]));  // hides that it comes from x[0], or the compiler would start there
    });
    const Word* y = b + depth.right_begin(run);
    for (std::int64_t k = 0; k < depth.words; ++k) {
      if constexpr (Product::prefetches) {
        constexpr int rows_ahead = 32;  // 400 to 800 cycles with AVX-512
        __builtin_prefetch(x[0] + rows_ahead * step);
        unroll<panel * sizeof(float) / 64>([&](auto line) __attribute__((always_inline)) {
          __builtin_prefetch(y + rows_ahead * b_stride + line * 16);
        });
      }
      const auto left_half = Product::right(y), right_half = Product::right(y + width);
      unroll<rows>([&](auto r) __attribute__((always_inline)) {
        const auto factor = Product::left(x[r / together] + r % together * row_stride);
        Product::accumulate(sum[r][0], factor, left_half);
        Product::accumulate(sum[r][1], factor, right_half);
      });
      unroll<groups>([&](auto g) __attribute__((always_inline)) { x[g] += step; });
      y += b_stride;
    }
  } while (++run < depth.runs);
}

/// MultiplyPanel for a fixed number of rows.
template <class Word, int rows>
void multiply_rows(const LeftMatrix<Word>& a, const Word* b, std::int64_t b_stride,
                   const Depth& depth, float* c, std::int64_t c_stride, bool add) {
  Sums<rows> sum;
  unroll<rows>([&](auto r) __attribute__((always_inline)) {
    sum[r][0] = add ? load(c + r * c_stride) : Vector{};
    sum[r][1] = add ? load(c + r * c_stride + width) : Vector{};
  });
  accumulate_product<Word, rows>(a, b, b_stride, depth, sum);
  unroll<rows>([&](auto r) __attribute__((always_inline)) {
    store(c + r * c_stride, sum[r][0]);
    store(c + r * c_stride + width, sum[r][1]);
  });
}

/// multiply_rows of 1, 2, 3, ... rows.
template <class Word, int... i>
constexpr auto multiply_rows_table(std::integer_sequence<int, i...>) {
  return std::array{&multiply_rows<Word, i + 1>...};
}

/// The MultiplyPanel of this level.
template <class Word>
void multiply_panel(const LeftMatrix<Word>& a, std::int64_t rows, const Word* b,
                    std::int64_t b_stride, const Depth& depth, float* c, std::int64_t c_stride,
                    bool add) {
  if constexpr (by_tiles && std::is_same_v<Word, BFloat16Pair>) {
    multiply_panel_in_tiles(a, rows, b, b_stride, depth, c, c_stride, add);
  } else {
    constexpr int most = ProductOf<Word>::most_rows;
    static constexpr auto multiply =
        multiply_rows_table<Word>(std::make_integer_sequence<int, most>{});
    for_each_part<most>(
        rows, [&](std::int64_t begin, std::int64_t end) __attribute__((always_inline)) {
          multiply[end - begin - 1]({a.data + begin * a.row_stride, a.row_stride, a.step}, b,
                                    b_stride, depth, c + begin * c_stride, c_stride, add);
        });
  }
}

}  // namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL
