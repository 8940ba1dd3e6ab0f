// What the processor can do at best: arithmetic on registers, and streams through memory.
#pragma once

#include <omp.h>

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <gradus/tensor/device.h>
#include <gradus/tensor/tensor.h>
#include "bench/timing.h"

namespace gradus::bench {

// A kernel of vectors runs `iterations` of `chains` sums that do not wait for each other: two units
// with a latency of four or five cycles need eight or ten. The chains start from different values,
// or the compiler would compute only one; every loop over them is unrolled, or GCC would keep them
// in memory; and the sum of all is returned, or nothing would be computed at all. A macro, since a
// template cannot be compiled for another processor than the rest (`target`).
inline constexpr int chains = 12;
#define GRADUS_PEAK_KERNEL(name, attribute, Vector, update)                                   \
  [[gnu::noinline, attribute]] inline float name(std::int64_t iterations, float a, float b) { \
    constexpr int width = static_cast<int>(sizeof(Vector) / sizeof(float));                   \
    Vector sums[chains], total{};                                                             \
    _Pragma("GCC unroll 12") for (int i = 0; i < chains; ++i) sums[i] =                       \
        Vector{} + static_cast<float>(i);                                                     \
    for (std::int64_t n = 0; n < iterations; ++n) {                                           \
      _Pragma("GCC unroll 12") for (int i = 0; i < chains; ++i) sums[i] = update(sums[i]);    \
    }                                                                                         \
    _Pragma("GCC unroll 12") for (int i = 0; i < chains; ++i) total += sums[i];               \
    float sum = 0;                                                                            \
    for (int lane = 0; lane < width; ++lane) sum += total[lane];                              \
    return sum;                                                                               \
  }

/// Vectors as wide as those that the compiler may use everywhere.
#if defined(__AVX__)
inline constexpr int vector_bytes = 32;
#else
inline constexpr int vector_bytes = 16;
#endif
using FloatVector [[gnu::vector_size(vector_bytes)]] = float;
inline constexpr int lanes = vector_bytes / static_cast<int>(sizeof(float));

/// x = x a + b: 2 operations for each lane of each chain.
#define GRADUS_MULTIPLY_ADD(x) ((x)*a + b)
GRADUS_PEAK_KERNEL(multiply_adds, gnu::hot, FloatVector, GRADUS_MULTIPLY_ADD)

// To be called only where the processor has the instructions, whatever the rest was compiled for.
#if defined(__x86_64__)
GRADUS_PEAK_KERNEL(multiply_adds_512, gnu::target("avx512f"), __m512, GRADUS_MULTIPLY_ADD)
/// x += a0 b0 + a1 b1 for pairs of bfloat16: 4 operations for each lane of each chain.
#define GRADUS_BITS(x) (__m512bh)(_mm512_set1_ps(x))  // any numbers will do
#define GRADUS_DOT_PRODUCT(x) _mm512_dpbf16_ps(x, GRADUS_BITS(a), GRADUS_BITS(b))
GRADUS_PEAK_KERNEL(bfloat16_dot_products, gnu::target("avx512f,avx512bf16"), __m512,
                   GRADUS_DOT_PRODUCT)
inline bool has_512_bits() { return __builtin_cpu_supports("avx512f") != 0; }

/// sums [16, 16] of floats += a [16, 32] b [32, 16] of bfloat16: 16,384 operations an iteration, in
/// four sums that do not wait for each other. Tiles as in tensor/cpu/simd/tile.h, which only files
/// that are compiled for such a processor can include.
[[gnu::target("amx-tile,amx-bf16")]] inline float bfloat16_tile_products(std::int64_t iterations,
                                                                         float a, float) {
  struct alignas(64) {
    std::uint8_t palette = 1, reserved[15] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16};
  } const sizes;
  float numbers[16 * 16];
  for (float& number : numbers) number = a;  // any pairs of bfloat16 will do
  asm volatile("ldtilecfg %0" : : "m"(sizes));
  asm volatile("tileloadd (%0,%1,1), %%tmm4" : : "r"(numbers), "r"(std::int64_t{64}) : "memory");
  asm volatile("tileloadd (%0,%1,1), %%tmm5" : : "r"(numbers), "r"(std::int64_t{64}) : "memory");
  asm volatile("tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3" : :);
  for (std::int64_t n = 0; n < iterations; n += 4) {
    asm volatile(
        "tdpbf16ps %%tmm5, %%tmm4, %%tmm0\n\ttdpbf16ps %%tmm5, %%tmm4, %%tmm1\n\t"
        "tdpbf16ps %%tmm5, %%tmm4, %%tmm2\n\ttdpbf16ps %%tmm5, %%tmm4, %%tmm3"
        :
        :);
  }
  asm volatile("tilestored %%tmm0, (%0,%1,1)" : : "r"(numbers), "r"(std::int64_t{64}) : "memory");
  asm volatile("tilerelease");
  return numbers[0];
}
#else
inline float multiply_adds_512(std::int64_t, float, float) { return 0; }
inline float bfloat16_dot_products(std::int64_t, float, float) { return 0; }
inline float bfloat16_tile_products(std::int64_t, float, float) { return 0; }
inline bool has_512_bits() { return false; }
#endif
/// Whether bfloat16 is multiplied by tiles (AMX), or at all as such, at the level of instructions
/// that is in use.
inline bool has_tiles() { return cpu_instructions() == "amx"; }
inline bool has_bfloat16() { return has_tiles() || cpu_instructions() == "avx512_bf16"; }

/// Operations a second of `kernel` on `threads` threads at once; an iteration does `operations`.
template <class Kernel>
double arithmetic_peak(Kernel kernel, int threads, double operations, int repeats) {
  constexpr std::int64_t iterations = 1 << 23;
  volatile float sink = 0;
  const double seconds = least_seconds(repeats, [&] {
    float sum = 0;
#pragma omp parallel num_threads(threads) reduction(+ : sum)
    sum += kernel(iterations, 0.5f, 1.0f);
    sink = sum;
  });
  return operations * static_cast<double>(iterations) * threads / seconds;
}
inline double fp32_peak(int threads, int repeats) {
  const double one_lane = 2.0 * chains;
  return has_512_bits() ? arithmetic_peak(multiply_adds_512, threads, one_lane * 16, repeats)
                        : arithmetic_peak(multiply_adds, threads, one_lane * lanes, repeats);
}
/// 0 where the level has no instruction for it.
inline double bf16_peak(int threads, int repeats) {
  if (has_tiles()) return arithmetic_peak(bfloat16_tile_products, threads, 16384, repeats);
  return has_bfloat16()
             ? arithmetic_peak(bfloat16_dot_products, threads, 4.0 * chains * 16, repeats)
             : 0;
}

/// Bytes a second through memory, as STREAM counts them: what the program reads and writes, not
/// what the caches fetch of a line before it is written.
struct Bandwidth {
  double read;   ///< sum a_i
  double copy;   ///< b_i = a_i
  double triad;  ///< c_i = a_i + 3 b_i
};

/// With all threads, each on its own piece of three arrays of `megabytes`.
inline Bandwidth memory_bandwidth(std::int64_t megabytes, int repeats) {
  const std::int64_t count = megabytes * 1000000 / vector_bytes;
  // Tensors, for the pages that they have; uninitialised, so that each page lies where the thread
  // that first writes to it runs.
  Tensor tensors[3];
  for (Tensor& tensor : tensors) tensor = empty({count * lanes});
  const auto vectors = [&](int i) {
    return reinterpret_cast<FloatVector*>(tensors[i].data<float>());
  };
  FloatVector *const a = vectors(0), *const b = vectors(1), *const c = vectors(2);
  const auto stream = [&](const auto& function) {
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < count / 4; ++i) function(4 * i);
  };
  stream([&](std::int64_t i) {
    for (std::int64_t j = i; j < i + 4; ++j) a[j] = b[j] = c[j] = FloatVector{} + 1.0f;
  });
  volatile float sink = 0;
  const double bytes = static_cast<double>(count) * vector_bytes;
  const double read = least_seconds(repeats, [&] {
    float sum = 0;
#pragma omp parallel reduction(+ : sum)
    {
      FloatVector s0{}, s1{}, s2{}, s3{};
#pragma omp for schedule(static)
      for (std::int64_t i = 0; i < count / 4; ++i) {
        s0 += a[4 * i];
        s1 += a[4 * i + 1];
        s2 += a[4 * i + 2];
        s3 += a[4 * i + 3];
      }
      s0 += s1 + s2 + s3;
      for (int lane = 0; lane < lanes; ++lane) sum += s0[lane];
    }
    sink = sum;
  });
  const double copy = least_seconds(repeats, [&] {
    stream([&](std::int64_t i) {
      for (std::int64_t j = i; j < i + 4; ++j) b[j] = a[j];
    });
  });
  const double triad = least_seconds(repeats, [&] {
    stream([&](std::int64_t i) {
      for (std::int64_t j = i; j < i + 4; ++j) c[j] = a[j] + 3.0f * b[j];
    });
  });
  return {bytes / read, 2 * bytes / copy, 3 * bytes / triad};
}

}  // namespace gradus::bench
