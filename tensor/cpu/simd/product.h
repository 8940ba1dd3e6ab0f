// The register-blocked matrix product of the level that is compiled, and the storing of its sums.
#pragma once

#include "tensor/cpu/simd/vector.h"

namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL {

/// Columns of a product that are computed together.
inline constexpr int panel = 2 * width;

// Of each type of element: how many rows of two vectors of sums leave room in the registers for the
// factors, what a word of the left and a vector of words of the right matrix become, and
// sum += left * right.

// 32 registers with AVX-512, 16 otherwise.
struct FloatProduct {
  static constexpr int most_rows = width == 16 ? 14 : 6;
  using Left = float;
  using Right = Vector;
  [[gnu::always_inline]] static Left left(const float* x) { return *x; }
  [[gnu::always_inline]] static Right right(const float* x) { return load(x); }
  [[gnu::always_inline]] static void accumulate(Vector& sum, const Left& a, const Right& b) {
    sum += a * b;
  }
};

[[gnu::always_inline]] inline Bits load_words(const BFloat16Pair* from) {
  Bits x;
  std::memcpy(&x, from, sizeof(x));
  return x;
}

#if defined(__AVX512BF16__)
struct BFloat16Product {
  static constexpr int most_rows = 14;
  using Left = Bits;
  using Right = Bits;
  [[gnu::always_inline]] static Left left(const BFloat16Pair* x) {
    std::uint32_t word;
    std::memcpy(&word, x, sizeof(word));
    return word - Bits{};
  }
  [[gnu::always_inline]] static Right right(const BFloat16Pair* x) { return load_words(x); }
  [[gnu::always_inline]] static void accumulate(Vector& sum, const Left& a, const Right& b) {
    sum = reinterpret_cast<Vector>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum),
                                                    reinterpret_cast<__m512bh>(a),
                                                    reinterpret_cast<__m512bh>(b)));
  }
};
#else
/// Emulated in float: the two halves of each word are its two elements.
struct BFloat16Product {
  static constexpr int most_rows = width == 16 ? 12 : 4;
  struct Left {
    float first, second;
  };
  struct Right {
    Vector first, second;
  };
  [[gnu::always_inline]] static Left left(const BFloat16Pair* x) { return {x->first, x->second}; }
  [[gnu::always_inline]] static Right right(const BFloat16Pair* x) {
    const Bits words = load_words(x);
    return {reinterpret_cast<Vector>(words << 16), reinterpret_cast<Vector>(words & 0xFFFF0000u)};
  }
  [[gnu::always_inline]] static void accumulate(Vector& sum, const Left& a, const Right& b) {
    sum += a.first * b.first;
    sum += a.second * b.second;
  }
};
#endif

template <class T>
struct ProductOf {
  using type = FloatProduct;
};
template <>
struct ProductOf<BFloat16> {
  using type = BFloat16Product;
};

/// MultiplyPanel for a fixed number of rows, whose sums stay in registers.
template <class T, int rows>
void multiply_rows(const LeftMatrix<T>& a, const Word<T>* b, std::int64_t b_stride,
                   std::int64_t depth, float* c, std::int64_t c_stride, bool add) {
  using Product = typename ProductOf<T>::type;
  Vector sum[rows][2];
  unroll<rows>([&](auto r) __attribute__((always_inline)) {
    sum[r][0] = add ? load(c + r * c_stride) : Vector{};
    sum[r][1] = add ? load(c + r * c_stride + width) : Vector{};
  });
  const Word<T>* x = a.data;
  const std::int64_t row_stride = a.row_stride, step = a.step;
  for (std::int64_t k = 0; k < depth; ++k) {
    const auto left_half = Product::right(b), right_half = Product::right(b + width);
    unroll<rows>([&](auto r) __attribute__((always_inline)) {
      const auto factor = Product::left(x + r * row_stride);
      Product::accumulate(sum[r][0], factor, left_half);
      Product::accumulate(sum[r][1], factor, right_half);
    });
    x += step;
    b += b_stride;
  }
  unroll<rows>([&](auto r) __attribute__((always_inline)) {
    store(c + r * c_stride, sum[r][0]);
    store(c + r * c_stride + width, sum[r][1]);
  });
}

/// multiply_rows for 0 (never called), 1, ..., most_rows rows.
template <class T>
struct MultiplyRows {
  using Function = void (*)(const LeftMatrix<T>&, const Word<T>*, std::int64_t, std::int64_t,
                            float*, std::int64_t, bool);
  static constexpr int most = ProductOf<T>::type::most_rows;
  Function of[most + 1] = {};

  constexpr MultiplyRows() { unroll_functions(std::make_integer_sequence<int, most>{}); }

 private:
  template <int... i>
  constexpr void unroll_functions(std::integer_sequence<int, i...>) {
    ((of[i + 1] = &multiply_rows<T, i + 1>), ...);
  }
};

/// The MultiplyPanel of this level: any number of rows, shared out evenly.
template <class T>
void multiply_panel(const LeftMatrix<T>& a, std::int64_t rows, const Word<T>* b,
                    std::int64_t b_stride, std::int64_t depth, float* c, std::int64_t c_stride,
                    bool add) {
  static constexpr MultiplyRows<T> multiply;
  const std::int64_t parts = (rows + multiply.most - 1) / multiply.most;
  for (std::int64_t part = 0; part < parts; ++part) {
    const std::int64_t begin = rows * part / parts, end = rows * (part + 1) / parts;
    multiply.of[end - begin]({a.data + begin * a.row_stride, a.row_stride, a.step}, b, b_stride,
                             depth, c + begin * c_stride, c_stride, add);
  }
}

[[gnu::always_inline]] inline void stream_sum(float* to, const Vector& x) { stream(to, x); }
[[gnu::always_inline]] inline void stream_sum(BFloat16* to, const Vector& x) {
  stream(to, to_bfloat16(x));
}

/// The StoreRows of this level.
template <class T>
void store_rows(const float* from, std::int64_t from_stride, std::int64_t rows,
                std::int64_t columns, const float* bias, T* to, std::int64_t to_stride,
                bool stream) {
  for (std::int64_t i = 0; i < rows; ++i, from += from_stride, to += to_stride) {
    for (std::int64_t j = 0; j < columns; j += width) {
      const std::int64_t lanes = columns - j;
      Vector sum = load(from + j);
      if (bias != nullptr) sum += load(bias + j, lanes);
      if (stream) {
        stream_sum(to + j, sum);
      } else {
        store(to + j, sum, lanes);
      }
    }
  }
}

}  // namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL
