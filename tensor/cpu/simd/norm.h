// Batch norm's passes over rows at the level that is compiled: x [rows, C], a few vectors of
// channels at a time, whose sums and parameters stay in registers. tensor/cpu/norm/plain_norm.h has
// the same passes as plain loops.
#pragma once

#include "tensor/cpu/simd/vector.h"

namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL {

/// function(c, vectors, lanes) for groups of channels: four vectors, or one of them with `lanes`
/// channels; `vectors` and, except for the last group, `lanes` are constants.
template <class Function>
[[gnu::always_inline]] inline void for_each_channel_group(std::int64_t C,
                                                          const Function& function) {
  constexpr std::integral_constant<int, 4> four;
  constexpr std::integral_constant<int, 1> one;
  constexpr std::integral_constant<std::int64_t, width> all;
  std::int64_t c = 0;
  for (; c + four * width <= C; c += four * width) function(c, four, all);
  for (; c + width <= C; c += width) function(c, one, all);
  if (c < C) function(c, one, C - c);
}

template <int vectors, class Lanes>
[[gnu::always_inline]] inline void load_channels(const float* from, Lanes lanes,
                                                 Vector (&to)[vectors]) {
  unroll<vectors>([&](auto v)
                      __attribute__((always_inline)) { to[v] = load(from + v * width, lanes); });
}

/// A Normalisation's parameters of some vectors of channels, in registers.
template <int vectors>
struct Normaliser {
  Vector mean[vectors], scale[vectors], shift[vectors];

  template <class Lanes>
  [[gnu::always_inline]] Normaliser(const Normalisation<float>& n, std::int64_t c, Lanes lanes) {
    load_channels(n.mean + c, lanes, mean);
    load_channels(n.scale + c, lanes, scale);
    load_channels(n.shift + c, lanes, shift);
  }
  [[gnu::always_inline]] Vector operator()(int v, const Vector& x) const {
    return (x - mean[v]) * scale[v] + shift[v];
  }
};

[[gnu::always_inline]] inline Vector relu(const Vector& x) {
  return x < 0 ? Vector{} : x;  // NaN stays NaN
}

/// sum[c] = sum over rows of term(v, row offset), four rows at a time.
template <int vectors, class Term>
[[gnu::always_inline]] inline void sum_rows(std::int64_t rows, std::int64_t C,
                                            Vector (&sum)[vectors], const Term& term) {
  for (auto& s : sum) s = Vector{};
  std::int64_t row = 0;
  for (; row + 4 <= rows; row += 4) {
    unroll<vectors>([&](auto v) __attribute__((always_inline)) {
      const std::int64_t at = row * C;
      sum[v] += (term(v, at) + term(v, at + C)) + (term(v, at + 2 * C) + term(v, at + 3 * C));
    });
  }
  for (; row < rows; ++row) {
    unroll<vectors>([&](auto v) __attribute__((always_inline)) { sum[v] += term(v, row * C); });
  }
}

template <class T>
void norm_moments(const T* x, const float* origin, std::int64_t rows, std::int64_t C, float* mean,
                  float* deviations) {
  for_each_channel_group(
      C, [&](std::int64_t c, auto vectors, auto lanes) __attribute__((always_inline)) {
        Vector shift[vectors], sum[vectors], average[vectors];
        load_channels(origin + c, lanes, shift);
        const auto value = [&](auto v, std::int64_t at) __attribute__((always_inline)) {
          return load(x + at + c + v * width, lanes) - shift[v];
        };
        sum_rows(rows, C, sum, value);
        const float share = 1 / static_cast<float>(rows);
        for (int v = 0; v < vectors; ++v) average[v] = sum[v] * share;
        sum_rows(
            rows, C, sum, [&](auto v, std::int64_t at) __attribute__((always_inline)) {
              const Vector deviation = value(v, at) - average[v];
              return deviation * deviation;
            });
        for (int v = 0; v < vectors; ++v) {
          store(mean + c + v * width, average[v], lanes);
          store(deviations + c + v * width, sum[v], lanes);
        }
      });
}

template <bool with_residual, bool with_relu, class T>
[[gnu::always_inline]] inline void normalise_rows(const T* x, const Normalisation<float>& n,
                                                  const T* residual, T* y, std::int64_t rows,
                                                  std::int64_t C) {
  for_each_channel_group(
      C, [&](std::int64_t c, auto vectors, auto lanes) __attribute__((always_inline)) {
        const Normaliser<vectors> normalised(n, c, lanes);
        for (std::int64_t at = c; at < rows * C; at += C) {
          unroll<vectors>([&](auto v) __attribute__((always_inline)) {
            const std::int64_t i = at + v * width;
            Vector value = normalised(v, load(x + i, lanes));
            if constexpr (with_residual) value += load(residual + i, lanes);
            if constexpr (with_relu) value = relu(value);
            store(y + i, value, lanes);
          });
        }
      });
}

template <class T>
void norm_apply(const T* x, const Normalisation<float>& n, const T* residual, bool with_relu, T* y,
                std::int64_t rows, std::int64_t C) {
  if (residual != nullptr) {
    if (with_relu) return normalise_rows<true, true>(x, n, residual, y, rows, C);
    return normalise_rows<true, false>(x, n, residual, y, rows, C);
  }
  if (with_relu) return normalise_rows<false, true>(x, n, residual, y, rows, C);
  return normalise_rows<false, false>(x, n, residual, y, rows, C);
}

/// Where a gradient of y = relu(normalised x + residual) passes: `of_y` reads y; `of_x` computes it
/// again, without residual.
enum class Mask { none, of_y, of_x };

template <Mask mask, int vectors, class T, class Lanes>
[[gnu::always_inline]] inline Vector masked_gradient(const Vector& dy, const Vector& x, const T* y,
                                                     const Normaliser<vectors>& normalised, int v,
                                                     Lanes lanes) {
  if constexpr (mask == Mask::of_y) return load(y, lanes) > 0 ? dy : Vector{};
  if constexpr (mask == Mask::of_x) return normalised(v, x) > 0 ? dy : Vector{};
  return dy;
}

template <Mask mask, bool two_terms, class T>
[[gnu::always_inline]] inline void gradient_sums(const T* dy, const T* dy2, const T* x, const T* y,
                                                 const Normalisation<float>& n, T* masked,
                                                 std::int64_t rows, std::int64_t C, float* sum_dy,
                                                 float* sum_dy_x) {
  for_each_channel_group(
      C, [&](std::int64_t c, auto vectors, auto lanes) __attribute__((always_inline)) {
        const Normaliser<vectors> normalised(n, c, lanes);
        Vector of_dy[vectors] = {}, of_dy_x[vectors] = {};
        // Two rows at a time: chains of additions half as long, with half the rounding. But
        // products are added one by one: of two, the compiler would round either before it fuses
        // the other with the sum, and so the variants of this function would differ.
        const auto add_rows = [&](std::int64_t at, auto count) __attribute__((always_inline)) {
          unroll<vectors>([&](auto v) __attribute__((always_inline)) {
            Vector g[decltype(count)::value];
            unroll<count>([&](auto r) __attribute__((always_inline)) {
              const std::int64_t i = at + r * C + v * width;
              const Vector value = load(x + i, lanes);
              Vector sum = load(dy + i, lanes);
              if constexpr (two_terms) sum += load(dy2 + i, lanes);
              g[r] = masked_gradient<mask>(sum, value, y + i, normalised, v, lanes);
              of_dy_x[v] += g[r] * (value - normalised.mean[v]);
              if (mask == Mask::of_y) store(masked + i, g[r], lanes);
            });
            if constexpr (count == 2) {
              of_dy[v] += g[0] + g[1];
            } else {
              of_dy[v] += g[0];
            }
          });
        };
        std::int64_t row = 0;
        for (; row + 2 <= rows; row += 2) {
          add_rows(row * C + c, std::integral_constant<int, 2>{});
        }
        if (row < rows) add_rows(row * C + c, std::integral_constant<int, 1>{});
        for (int v = 0; v < vectors; ++v) {
          store(sum_dy + c + v * width, of_dy[v], lanes);
          store(sum_dy_x + c + v * width, of_dy_x[v], lanes);
        }
      });
}

template <class T>
void norm_gradient_sums(const T* dy, const T* dy2, const T* x, const T* y, bool with_relu,
                        const Normalisation<float>& n, T* masked, std::int64_t rows, std::int64_t C,
                        float* sum_dy, float* sum_dy_x) {
  if (!with_relu) {
    return gradient_sums<Mask::none, false>(dy, dy2, x, y, n, masked, rows, C, sum_dy, sum_dy_x);
  }
  if (y == nullptr) {
    return gradient_sums<Mask::of_x, false>(dy, dy2, x, x, n, masked, rows, C, sum_dy, sum_dy_x);
  }
  if (dy2 == nullptr) {
    return gradient_sums<Mask::of_y, false>(dy, dy2, x, y, n, masked, rows, C, sum_dy, sum_dy_x);
  }
  return gradient_sums<Mask::of_y, true>(dy, dy2, x, y, n, masked, rows, C, sum_dy, sum_dy_x);
}

template <Mask mask, class T>
[[gnu::always_inline]] inline void input_gradient(const T* dy, const T* x,
                                                  const Normalisation<float>& n,
                                                  const float* dshift, const float* slope, T* dx,
                                                  std::int64_t rows, std::int64_t C) {
  for_each_channel_group(
      C, [&](std::int64_t c, auto vectors, auto lanes) __attribute__((always_inline)) {
        const Normaliser<vectors> normalised(n, c, lanes);
        Vector centre[vectors], tilt[vectors];
        load_channels(dshift + c, lanes, centre);
        load_channels(slope + c, lanes, tilt);
        for (std::int64_t at = c; at < rows * C; at += C) {
          unroll<vectors>([&](auto v) __attribute__((always_inline)) {
            const std::int64_t i = at + v * width;
            const Vector value = load(x + i, lanes);
            const Vector g =
                masked_gradient<mask>(load(dy + i, lanes), value, x, normalised, v, lanes);
            store(dx + i,
                  normalised.scale[v] * (g - centre[v] - (value - normalised.mean[v]) * tilt[v]),
                  lanes);
          });
        }
      });
}

template <class T>
void norm_input_gradient(const T* dy, const T* x, bool mask_of_x, const Normalisation<float>& n,
                         const float* dshift, const float* slope, T* dx, std::int64_t rows,
                         std::int64_t C) {
  if (mask_of_x) return input_gradient<Mask::of_x>(dy, x, n, dshift, slope, dx, rows, C);
  return input_gradient<Mask::none>(dy, x, n, dshift, slope, dx, rows, C);
}

template <class T>
constexpr NormKernels<T> norm_kernels() {
  return {&norm_moments<T>, &norm_apply<T>, &norm_gradient_sums<T>, &norm_input_gradient<T>};
}

}  // namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL
