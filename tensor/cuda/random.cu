// The blocks are cuRAND's Philox4x32-10, which is that of tensor/philox.h.
#include <curand_kernel.h>

#include <gradus/tensor/philox.h>
#include "tensor/backend/instantiate.h"
#include "tensor/cuda/index.h"
#include "tensor/cuda/runtime/launch.h"

namespace gradus::cuda {
namespace {

__device__ uint4 block_of(const PhiloxStream& random, std::int64_t k) {
  const auto low = [](std::uint64_t x) { return static_cast<unsigned>(x); };
  const auto high = [](std::uint64_t x) { return static_cast<unsigned>(x >> 32); };
  const std::uint64_t counter = random.position + static_cast<std::uint64_t>(k);
  return curand_Philox4x32_10(
      make_uint4(low(counter), high(counter), low(random.stream), high(random.stream)),
      make_uint2(low(random.seed), high(random.seed)));
}

// y [n]; a thread draws the two elements of a block.
template <class T, class Distribution>
__global__ void draw_kernel(Distribution distribution, PhiloxStream random, T* y, std::int64_t n) {
  const std::int64_t blocks = divide_up(n, 2);
  for (auto k = first_index<std::int64_t>(); k < blocks; k += index_stride<std::int64_t>()) {
    const uint4 word = block_of(random, k);
    const DrawnPair pair =
        distribution(uniform_double(word.x, word.y), uniform_double(word.z, word.w));
    y[2 * k] = static_cast<T>(pair.first);
    if (2 * k + 1 < n) y[2 * k + 1] = static_cast<T>(pair.second);
  }
}

}  // namespace

template <class T, class Distribution>
void draw(Distribution distribution, const PhiloxStream& random, T* y, std::int64_t n) {
  if (n == 0) return;
  const double elements = static_cast<double>(n);
  launch("draw", draw_kernel<T, Distribution>, one_thread_each(divide_up(n, 2)),
         {.bytes = elements * sizeof(T), .flops = 2 * elements, .unit = Unit::fp64}, distribution,
         random, y, n);
}

GRADUS_INSTANTIATE_FLOATS(draw, Uniform)
GRADUS_INSTANTIATE_FLOATS(draw, Normal)
GRADUS_INSTANTIATE_FLOATS(draw, DropoutMask)

}  // namespace gradus::cuda
