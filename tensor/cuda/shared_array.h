// What kernels are written with, beside CUDA's own words (threadIdx, __syncthreads, ...): shared
// arrays and wide memory accesses. Under nvcc they are plain memory; the emulator's are checked.
#pragma once

#include <cstdint>

#include <gradus/tensor/bfloat16.h>

#if defined(GRADUS_CUDA_EMULATOR)
#include "tensor/cuda/emulator/shared_array.h"
#else
#include <cuda_runtime.h>

namespace gradus::cuda {

/// Shared memory of a fixed size: `__shared__ SharedArray<float, 256> partial;`
template <class T, int size>
struct SharedArray {
  T data[size];
  __device__ T& operator[](int i) { return data[i]; }
};

/// The shared memory that the launch gave (its shared_bytes), as elements of T.
template <class T>
struct DynamicSharedArray {
  T* data;
  __device__ T& operator[](int i) const { return data[i]; }
};

/// `auto tile = dynamic_shared<float>(count);` with a launch of at least count * sizeof(T) bytes.
template <class T>
__device__ DynamicSharedArray<T> dynamic_shared(int /*count*/) {
  extern __shared__ __align__(16) unsigned char dynamic_shared_memory[];
  return {reinterpret_cast<T*>(dynamic_shared_memory)};
}

namespace detail {
template <class V>
__device__ void require_aligned(const void*) {}
}  // namespace detail

}  // namespace gradus::cuda
#endif

namespace gradus::cuda {

/// `size` neighbouring elements, moved by one instruction where they fill 16 bytes.
template <class T, int size>
struct alignas(sizeof(T) * size) Vector {
  T data[size];
  GRADUS_HOST_DEVICE T& operator[](int i) { return data[i]; }
  GRADUS_HOST_DEVICE const T& operator[](int i) const { return data[i]; }
};

/// Elements of T in 16 bytes.
template <class T>
inline constexpr int vector_size = 16 / static_cast<int>(sizeof(T));

/// Whether all pointers, or nulls, can be read and written 16 bytes at a time.
template <class... T>
GRADUS_HOST_DEVICE bool aligned_to_vectors(const T*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

/// Calls function.operator()<size>() with the elements of T that a kernel's thread moves at once: a
/// vector's where they divide `n`, the length of a row, and all arrays are aligned; otherwise 1.
template <class T, class Function, class... Arrays>
void with_vector_size(std::int64_t n, const Function& function, const Arrays*... arrays) {
  if (n % vector_size<T> == 0 && aligned_to_vectors(arrays...)) {
    function.template operator()<vector_size<T>>();
  } else {
    function.template operator()<1>();
  }
}

/// Reads `size` elements at p, which must be aligned to all of them together.
template <int size, class T>
__device__ Vector<T, size> load_vector(const T* p) {
  detail::require_aligned<Vector<T, size>>(p);
  return *reinterpret_cast<const Vector<T, size>*>(p);
}

/// Writes `size` elements at p, which must be aligned to all of them together.
template <int size, class T>
__device__ void store_vector(T* p, const Vector<T, size>& v) {
  detail::require_aligned<Vector<T, size>>(p);
  *reinterpret_cast<Vector<T, size>*>(p) = v;
}

}  // namespace gradus::cuda
