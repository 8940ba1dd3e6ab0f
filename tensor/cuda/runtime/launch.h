// How kernels are started: launch("name", kernel, shape, work, arguments...).
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "tensor/backend/arithmetic.h"
#include "tensor/cuda/runtime/runtime.h"

namespace gradus::cuda {

/// Threads and shared memory of a launch.
struct LaunchShape {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;
};

inline constexpr int default_block = 256;

/// One thread an item, in blocks of `block`, at most 64 Ki blocks: kernels stride over the rest.
inline LaunchShape one_thread_each(std::int64_t items, int block = default_block) {
  const std::int64_t blocks = std::clamp<std::int64_t>(divide_up(items, block), 1, 1 << 16);
  return {dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(block))};
}

/// A row of `threads` threads an item, in blocks of `default_block` threads, likewise.
inline LaunchShape one_row_each(std::int64_t items, int threads) {
  const int rows = default_block / threads;
  const std::int64_t blocks = std::clamp<std::int64_t>(divide_up(items, rows), 1, 1 << 16);
  return {dim3(static_cast<unsigned>(blocks)),
          dim3(static_cast<unsigned>(threads), static_cast<unsigned>(rows))};
}

/// Starts `kernel` on the back end's stream. `name` stands in errors and profiles; `work` is what
/// it must at least move and compute. Throws Error if the launch is refused.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape,
            const Work& work, const Arguments&... arguments) {
  const LaunchRecord record(name, work);
  if (record.skipped()) return;
#if defined(GRADUS_CUDA_EMULATOR)
  const cudaError_t status =
      emulator::launch(name, kernel, shape.grid, shape.block, shape.shared_bytes, stream(),
                       static_cast<Parameters>(arguments)...);
#else
  const auto start = [&](Parameters... parameters) {
    void* pointers[] = {static_cast<void*>(&parameters)..., nullptr};
    return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), shape.grid, shape.block,
                            pointers, shape.shared_bytes, stream());
  };
  const cudaError_t status = start(static_cast<Parameters>(arguments)...);
#endif
  check_launch(status, name, shape.grid, shape.block, shape.shared_bytes);
}

/// Lets launches of a kernel ask for that much dynamic shared memory, more than the 48 KiB that
/// each kernel may have. Once for a kernel: `bytes` are the same each time.
template <auto kernel>
void allow_shared_bytes(std::size_t bytes) {
  static const bool allowed = [&] {
    GRADUS_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           static_cast<int>(bytes)));
    // As much of the first-level cache as can be, so that several blocks fit on a multiprocessor.
    GRADUS_CUDA_CHECK(
        cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, 100));
    return true;
  }();
  static_cast<void>(allowed);
}

}  // namespace gradus::cuda
