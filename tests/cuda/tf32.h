// TF32 in tests: allowing it, and whether the GPU has it.
#pragma once

#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <gradus/tensor/ops.h>

namespace gradus::test {

/// While one is alive, float32 products may take TF32.
struct AllowTf32 {
  AllowTf32() { allow_tf32(true); }
  ~AllowTf32() { allow_tf32(false); }
  AllowTf32(const AllowTf32&) = delete;
  AllowTf32& operator=(const AllowTf32&) = delete;
};

/// Whether the GPU's tensor cores take bfloat16 and TF32: from generation 8.0 on.
inline bool has_tensor_cores() {
  cudaDeviceProp properties{};
  REQUIRE(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
  return properties.major >= 8;
}

}  // namespace gradus::test
