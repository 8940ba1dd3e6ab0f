// Values of a warp's or a block's threads combined to one, in a fixed order.
#pragma once

#include "tensor/cuda/shared_array.h"

namespace gradus::cuda {

inline constexpr int warp = 32;
inline constexpr unsigned all_lanes = 0xFFFFFFFFu;

struct AddBoth {
  template <class C>
  __device__ C operator()(C a, C b) const {
    return a + b;
  }
};

/// The larger one; NaN may be passed over.
struct TakeLarger {
  template <class C>
  __device__ C operator()(C a, C b) const {
    return a > b ? a : b;
  }
};

/// The combination of the warp's values, in every lane.
template <class Combine, class C>
__device__ C warp_combine(Combine combine, C value) {
  for (int distance = warp / 2; distance > 0; distance /= 2)
    value = combine(value, __shfl_xor_sync(all_lanes, value, distance));
  return value;
}

/// The combination of the values of a row of `threads` threads (threadIdx.x; one warp, or a whole
/// block of up to 32 warps), in each of them. `scratch` is not used by a row of one warp.
template <int threads, class Combine, class C>
__device__ C row_combine(Combine combine, C value, SharedArray<C, warp>& scratch) {
  value = warp_combine(combine, value);
  if constexpr (threads > warp) {
    const int x = static_cast<int>(threadIdx.x);
    __syncthreads();  // the last use of scratch is over
    if (x % warp == 0) scratch[x / warp] = value;
    __syncthreads();
    value = scratch[0];
    for (int i = 1; i < threads / warp; ++i) {
      const C other = scratch[i];
      value = combine(value, other);
    }
  }
  return value;
}

/// The sum of the values of all threads with one threadIdx.x, valid where threadIdx.y = 0; it is
/// then also in scratch[threadIdx.x]. blockDim.y is a power of two.
template <class C, int size>
__device__ C column_sum(C value, SharedArray<C, size>& scratch) {
  const int y = static_cast<int>(threadIdx.y), columns = static_cast<int>(blockDim.x);
  const int own = y * columns + static_cast<int>(threadIdx.x);
  __syncthreads();  // the last use of scratch is over
  scratch[own] = value;
  for (int rows = static_cast<int>(blockDim.y) / 2; rows > 0; rows /= 2) {
    __syncthreads();
    if (y < rows) {
      const C other = scratch[own + rows * columns];
      scratch[own] += other;
    }
  }
  return scratch[own];
}

}  // namespace gradus::cuda
