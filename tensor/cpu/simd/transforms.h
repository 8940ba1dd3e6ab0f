// Winograd's transforms of tiles at the level that is compiled: Y = L X L^T for the matrices L of
// tensor/backend/winograd_matrices.h, each element of X and Y a vector of channels.
#pragma once

#include <type_traits>

#include "tensor/backend/winograd_matrices.h"
#include "tensor/cpu/simd/product.h"

namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL {

using gradus::winograd::Filtering, gradus::winograd::StridedFiltering,
    gradus::winograd::StridedGradient, gradus::winograd::Transposed;

// --- Y = L X L^T -------------------------------------------------------------------------------

/// y = L x
template <class L>
[[gnu::always_inline]] inline void multiply_matrix(const Vector (&x)[L::columns],
                                                   Vector (&y)[L::rows]) {
  unroll<L::rows>([&](auto i) __attribute__((always_inline)) {
    Vector sum{};
    unroll<L::columns>([&](auto j) __attribute__((always_inline)) {
      constexpr float factor = static_cast<float>(L::at(i, j));
      if constexpr (factor != 0) sum += factor * x[j];
    });
    y[i] = sum;
  });
}

/// load_element(i, j) gives X's elements, store_element(i, j, y) takes Y's.
template <class L, class Load, class Store>
[[gnu::always_inline]] inline void transform(const Load& load_element, const Store& store_element) {
  Vector half[L::rows][L::columns];  // L X
  for (int j = 0; j < L::columns; ++j) {
    Vector x[L::columns], y[L::rows];
    unroll<L::columns>([&](auto i) __attribute__((always_inline)) { x[i] = load_element(i, j); });
    multiply_matrix<L>(x, y);
    unroll<L::rows>([&](auto i) __attribute__((always_inline)) { half[i][j] = y[i]; });
  }
  for (int i = 0; i < L::rows; ++i) {
    Vector x[L::columns], y[L::rows];
    unroll<L::columns>([&](auto j) __attribute__((always_inline)) { x[j] = half[i][j]; });
    multiply_matrix<L>(x, y);
    unroll<L::rows>([&](auto j) __attribute__((always_inline)) { store_element(i, j, y[j]); });
  }
}

// --- tiles of images -> frequencies ------------------------------------------------------------

/// Channels [c, c + lanes) of a pixel, zero for null.
template <class T, class Lanes>
[[gnu::always_inline]] inline Vector load_channels(const T* pixel, std::int64_t c, Lanes lanes) {
  return pixel == nullptr ? Vector{} : load(pixel + c, lanes);
}

/// Y's elements of a vector of channels of a tile, L X L^T: store_element(f, y).
template <class L, class T, class Lanes, class Store>
[[gnu::always_inline]] inline void transform_pixels(const T* const* pixels, std::int64_t c,
                                                    Lanes lanes, const Store& store_element) {
  transform<L>(
      [&](int i, int j) __attribute__((always_inline)) {
        return load_channels(pixels[i * L::columns + j], c, lanes);
      },
      [&](int i, int j, const Vector& y)
          __attribute__((always_inline)) { store_element(i * L::rows + j, y); });
}

/// Words along the channels.
template <class L, class T, class Word>
[[gnu::always_inline]] inline void transform_tile(const T* const* pixels, std::int64_t C, Word* to,
                                                  std::int64_t stride) {
  for_each_vector(
      C, [&](std::int64_t c, auto lanes) __attribute__((always_inline)) {
        transform_pixels<L>(
            pixels, c, lanes, [&](int f, const Vector& y) __attribute__((always_inline)) {
              store(reinterpret_cast<Element<Word>*>(to + f * stride) + c, y, width);
            });
      });
}

/// Words of one element of each of per_word tiles.
template <class L, class T, class Word>
[[gnu::always_inline]] inline void transform_tiles(const T* const* pixels, std::int64_t C, Word* to,
                                                   std::int64_t stride) {
  if constexpr (per_word<Word> == 1) {
    transform_tile<L>(pixels, C, to, stride);
  } else {
    const T* const* const second = pixels + L::columns * L::columns;
    Vector of_first[L::rows * L::rows];
    for_each_vector(
        C, [&](std::int64_t c, auto lanes) __attribute__((always_inline)) {
          transform_pixels<L>(
              pixels, c, lanes, [&](int f, const Vector& y) __attribute__((always_inline)) {
                of_first[f] = y;
              });
          transform_pixels<L>(
              second, c, lanes, [&](int f, const Vector& y) __attribute__((always_inline)) {
                const Bits words = to_pairs(of_first[f], y);
                std::memcpy(to + f * stride + c, &words, sizeof(words));
              });
        });
  }
}

// --- the functions of WinogradKernels ------------------------------------------------------------

template <class F, class T, class Word>
void transform_input(const T* const* pixels, std::int64_t C, Word* to, std::int64_t stride) {
  transform_tile<typename F::InputMatrix>(pixels, C, to, stride);
}

template <class F, class T, class Word>
void transform_input_tiles(const T* const* pixels, std::int64_t C, Word* to, std::int64_t stride) {
  transform_tiles<typename F::InputMatrix>(pixels, C, to, stride);
}

template <class F, class T, class Word>
void transform_doutput_tiles(const T* const* pixels, std::int64_t C, Word* to,
                             std::int64_t stride) {
  transform_tiles<Transposed<typename F::OutputMatrix>>(pixels, C, to, stride);
}

template <class F, class Word>
void transform_weight(const float* filters, std::int64_t count, Word* to, std::int64_t stride) {
  using L = typename F::WeightMatrix;
  constexpr int taps = F::taps;
  for (std::int64_t j = 0; j < count; j += per_word<Word>) {
    for (int k = 0; k < panel; k += width) {
      const float* from = filters + j * taps * taps * panel + k;
      Word* into = to + j / per_word<Word> * panel + k;
      const auto load_tap = [&](int r, int s) __attribute__((always_inline)) {
        return load(from + (r * taps + s) * panel);
      };
      if constexpr (per_word<Word> == 1) {
        transform<L>(
            load_tap, [&](int r, int s, const Vector& y) __attribute__((always_inline)) {
              store(into + (r * L::rows + s) * stride, y);
            });
      } else {
        Vector of_first[F::frequencies];
        transform<L>(
            load_tap, [&](int r, int s, const Vector& y)
                          __attribute__((always_inline)) { of_first[r * L::rows + s] = y; });
        from += taps * taps * panel;
        transform<L>(
            load_tap, [&](int r, int s, const Vector& y) __attribute__((always_inline)) {
              const int f = r * L::rows + s;
              const Bits words = to_pairs(of_first[f], y);
              std::memcpy(into + f * stride, &words, sizeof(words));
            });
      }
    }
  }
}

template <class F, class T>
void restore_output(const float* from, std::int64_t stride, const float* bias, std::int64_t C,
                    T* to, std::int64_t row_stride, std::int64_t column_stride, std::int64_t rows,
                    std::int64_t columns) {
  for_each_vector(
      C, [&](std::int64_t c, auto lanes) __attribute__((always_inline)) {
        using L = typename F::OutputMatrix;
        const Vector shift = bias ? load(bias + c, lanes) : Vector{};
        transform<L>(
            [&](int i, int j) __attribute__((always_inline)) {
              return load(from + (i * L::columns + j) * stride + c);
            },
            [&](int i, int j, const Vector& y) __attribute__((always_inline)) {
              if (i < rows && j < columns) {
                store(to + i * row_stride + j * column_stride + c, y + shift, lanes);
              }
            });
      });
}

template <class F>
void restore_weight(const float* from, std::int64_t stride, std::int64_t parts,
                    std::int64_t part_stride, std::int64_t C, float* to, std::int64_t tap_stride,
                    bool add) {
  for_each_vector(
      C, [&](std::int64_t c, auto lanes) __attribute__((always_inline)) {
        using L = Transposed<typename F::WeightMatrix>;
        transform<L>(
            [&](int i, int j) __attribute__((always_inline)) {
              const float* x = from + (i * L::columns + j) * stride + c;
              Vector sum = load(x);
              for (std::int64_t part = 1; part < parts; ++part) sum += load(x + part * part_stride);
              return sum;
            },
            [&](int r, int s, const Vector& y) __attribute__((always_inline)) {
              float* const at = to + (r * F::taps + s) * tap_stride + c;
              store(at, add ? load(at, lanes) + y : y, lanes);
            });
      });
}

template <class F, class T, class Word>
constexpr WinogradKernels<T, Word> winograd_kernels() {
  WinogradKernels<T, Word> kernels;
  kernels.input_side = F::InputMatrix::columns;
  kernels.frequency_side = F::InputMatrix::rows;
  kernels.output_side = F::output_side;
  kernels.transform_input = &transform_input<F, T, Word>;
  kernels.transform_weight = &transform_weight<F, Word>;
  kernels.restore_output = &restore_output<F, T>;
  if constexpr (!std::is_same_v<F, StridedGradient>) {
    kernels.transform_input_tiles = &transform_input_tiles<F, T, Word>;
    kernels.transform_doutput_tiles = &transform_doutput_tiles<F, T, Word>;
    kernels.restore_weight = &restore_weight<F>;
  }
  return kernels;
}

}  // namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL
