// Random tensors: element i comes from block position + i / 2, half i % 2 (tensor/random.h), as on
// the CPU. The blocks are cuRAND's Philox4x32-10, which is that of tensor/philox.h.
#include <curand_kernel.h>

#include <cmath>
#include <numbers>

#include <gradus/tensor/philox.h>
#include "tensor/backend/kernels.h"
#include "tensor/cuda/index.h"
#include "tensor/cuda/runtime/launch.h"

namespace gradus::cuda {
namespace {

/// Blocks of random words, numbered from `position`.
struct PhiloxStream {
  std::uint64_t seed, stream, position;

  __device__ uint4 block(std::int64_t k) const {
    const std::uint64_t counter = position + static_cast<std::uint64_t>(k);
    return curand_Philox4x32_10(make_uint4(low(counter), high(counter), low(stream), high(stream)),
                                make_uint2(low(seed), high(seed)));
  }
  __device__ static unsigned low(std::uint64_t x) { return static_cast<unsigned>(x); }
  __device__ static unsigned high(std::uint64_t x) { return static_cast<unsigned>(x >> 32); }
};

/// Two neighbouring elements.
struct Pair {
  double first, second;
};

struct UniformPair {
  double low, high;
  __device__ Pair operator()(double u0, double u1) const {
    return {low + (high - low) * u0, low + (high - low) * u1};
  }
};

struct NormalPair {
  double mean, standard_deviation;
  __device__ Pair operator()(double u0, double u1) const {
    const double radius = standard_deviation * std::sqrt(-2 * std::log1p(-u0));
    const double angle = 2 * std::numbers::pi * u1;
    return {mean + radius * std::cos(angle), mean + radius * std::sin(angle)};
  }
};

struct DropoutPair {
  double p, kept;
  __device__ Pair operator()(double u0, double u1) const {
    return {u0 < p ? 0 : kept, u1 < p ? 0 : kept};
  }
};

// y [n]; a thread draws the two elements of a block.
template <class T, class Draw>
__global__ void draw_kernel(Draw draw, PhiloxStream random, T* y, std::int64_t n) {
  const std::int64_t blocks = divide_up(n, 2);
  for (auto k = first_index<std::int64_t>(); k < blocks; k += index_stride<std::int64_t>()) {
    const uint4 word = random.block(k);
    const Pair pair = draw(uniform_double(word.x, word.y), uniform_double(word.z, word.w));
    y[2 * k] = static_cast<T>(pair.first);
    if (2 * k + 1 < n) y[2 * k + 1] = static_cast<T>(pair.second);
  }
}

template <class T, class Draw>
void draw_elements(const char* name, Draw draw, const PhiloxStream& random, T* y, std::int64_t n) {
  if (n == 0) return;
  const double elements = static_cast<double>(n);
  launch(name, draw_kernel<T, Draw>, one_thread_each(divide_up(n, 2)),
         {.bytes = elements * sizeof(T), .flops = 2 * elements, .unit = Unit::fp64}, draw, random,
         y, n);
}

}  // namespace

template <class T>
void uniform(T* y, double low, double high, std::uint64_t seed, std::uint64_t stream,
             std::uint64_t position, std::int64_t n) {
  draw_elements("uniform", UniformPair{low, high}, {seed, stream, position}, y, n);
}

template <class T>
void normal(T* y, double mean, double standard_deviation, std::uint64_t seed, std::uint64_t stream,
            std::uint64_t position, std::int64_t n) {
  draw_elements("normal", NormalPair{mean, standard_deviation}, {seed, stream, position}, y, n);
}

template <class T>
void dropout_mask(T* y, double p, std::uint64_t seed, std::uint64_t stream, std::uint64_t position,
                  std::int64_t n) {
  draw_elements("dropout_mask", DropoutPair{p, 1 / (1 - p)}, {seed, stream, position}, y, n);
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

}  // namespace gradus::cuda
