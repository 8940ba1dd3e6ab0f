// Index arithmetic of kernels: 32 bits wide where that is enough, as divisions by 64-bit numbers
// cost a GPU dozens of instructions.
#pragma once

#include <cstdint>

#include "tensor/backend/geometry.h"
#include "tensor/cuda/shared_array.h"

namespace gradus::cuda {

/// Calls function(Index{}) with the type for indices below `items` plus a grid's threads.
template <class Function>
void with_index(std::int64_t items, const Function& function) {
  if (items < (std::int64_t{1} << 31)) {
    function(std::uint32_t{});
  } else {
    function(std::int64_t{});
  }
}

/// The item of this thread, and the step to its next one (one_thread_each).
template <class Index>
__device__ Index first_index() {
  return static_cast<Index>(blockIdx.x) * static_cast<Index>(blockDim.x) +
         static_cast<Index>(threadIdx.x);
}

template <class Index>
__device__ Index index_stride() {
  return static_cast<Index>(gridDim.x) * static_cast<Index>(blockDim.x);
}

/// The item of this row of threads, and the step to its next one (one_row_each).
__device__ inline std::int64_t first_row() {
  return blockIdx.x * std::int64_t{blockDim.y} + threadIdx.y;
}
__device__ inline std::int64_t row_stride() { return std::int64_t{gridDim.x} * blockDim.y; }

}  // namespace gradus::cuda
