// Random tensors: element i comes from block position + i / 2, half i % 2 (tensor/random.h).
#include <gradus/tensor/random.h>

#include <cmath>
#include <numbers>

#include "tensor/backend/kernels.h"
#include "tensor/cpu/parallel.h"

namespace gradus::cpu {
namespace {

/// Calls write(2 k, u0, u1) with the two uniforms of block k for every block of n elements.
template <class Write>
void for_each_block(std::uint64_t seed, std::uint64_t stream, std::uint64_t position,
                    std::int64_t n, const Write& write) {
  parallel_blocks(divide_up(n, 2), elementwise_grain / 16, [=](auto begin, auto end) {
    for (auto k = begin; k < end; ++k) {
      const PhiloxBlock b = philox(seed, position + static_cast<std::uint64_t>(k), stream);
      write(2 * k, uniform_double(b.word[0], b.word[1]), uniform_double(b.word[2], b.word[3]));
    }
  });
}

}  // namespace

template <class T>
void uniform(T* y, double low, double high, std::uint64_t seed, std::uint64_t stream,
             std::uint64_t position, std::int64_t n) {
  for_each_block(seed, stream, position, n, [=](std::int64_t i, double u0, double u1) {
    y[i] = static_cast<T>(low + (high - low) * u0);
    if (i + 1 < n) y[i + 1] = static_cast<T>(low + (high - low) * u1);
  });
}

template <class T>
void normal(T* y, double mean, double standard_deviation, std::uint64_t seed, std::uint64_t stream,
            std::uint64_t position, std::int64_t n) {
  for_each_block(seed, stream, position, n, [=](std::int64_t i, double u0, double u1) {
    const double radius = standard_deviation * std::sqrt(-2 * std::log1p(-u0));
    const double angle = 2 * std::numbers::pi * u1;
    y[i] = static_cast<T>(mean + radius * std::cos(angle));
    if (i + 1 < n) y[i + 1] = static_cast<T>(mean + radius * std::sin(angle));
  });
}

template <class T>
void dropout_mask(T* y, double p, std::uint64_t seed, std::uint64_t stream, std::uint64_t position,
                  std::int64_t n) {
  const T kept = static_cast<T>(1 / (1 - p));
  for_each_block(seed, stream, position, n, [=](std::int64_t i, double u0, double u1) {
    y[i] = u0 < p ? T{0} : kept;
    if (i + 1 < n) y[i + 1] = u1 < p ? T{0} : kept;
  });
}

#define GRADUS_INSTANTIATE(T)                                                            \
  template void uniform(T*, double, double, std::uint64_t, std::uint64_t, std::uint64_t, \
                        std::int64_t);                                                   \
  template void normal(T*, double, double, std::uint64_t, std::uint64_t, std::uint64_t,  \
                       std::int64_t);                                                    \
  template void dropout_mask(T*, double, std::uint64_t, std::uint64_t, std::uint64_t, std::int64_t);
GRADUS_INSTANTIATE(float)
GRADUS_INSTANTIATE(double)
GRADUS_INSTANTIATE(BFloat16)

}  // namespace gradus::cpu
