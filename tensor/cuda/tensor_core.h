// Tensor cores and asynchronous copies, one thin function an instruction. For compute
// capability 8.0 and newer; the emulated GPU has stand-ins (emulator/tensor_core.h).
#pragma once

#include "tensor/cuda/shared_array.h"

#if defined(GRADUS_CUDA_EMULATOR)
#include "tensor/cuda/emulator/tensor_core.h"
#else

namespace gradus::cuda {

/// A place in shared memory. Sums count bytes.
struct SharedAddress {
  std::uint32_t value;
  SharedAddress() = default;
  __device__ explicit SharedAddress(const void* p)
      : value(static_cast<std::uint32_t>(__cvta_generic_to_shared(p))) {}
  __device__ friend SharedAddress operator+(SharedAddress a, std::uint32_t bytes) {
    a.value += bytes;
    return a;
  }
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
// 7.5 has none of these instructions. Kernels that need them are compiled for it, but not started.
__device__ inline void copy_async(SharedAddress, const void*, bool) { __trap(); }
__device__ inline void commit_copies() { __trap(); }
template <int pending>
__device__ void wait_for_copies() {
  __trap();
}
__device__ inline void load_matrices(std::uint32_t (&)[4], SharedAddress) { __trap(); }
__device__ inline void load_matrices_transposed(std::uint32_t (&)[4], SharedAddress) { __trap(); }
__device__ inline void multiply_add(float (&)[4], const std::uint32_t (&)[4], std::uint32_t,
                                    std::uint32_t) {
  __trap();
}
#else

/// Starts to copy 16 bytes from global to shared memory, both aligned to 16 bytes; zeros, and
/// nothing is read, where not `valid`.
__device__ inline void copy_async(SharedAddress to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to.value), "l"(from),
               "r"(valid ? 16 : 0)
               : "memory");
}

/// Ends a group of this thread's copies.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

/// Waits until at most `pending` of the groups that this thread ended last are under way. What
/// other threads copied is there after a barrier behind their waits.
template <int pending>
__device__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(pending) : "memory");
}

/// Four 8x8 matrices of 16-bit elements, a warp together: lane l names row l % 8 (16 bytes) of
/// matrix l / 8, and gets of each matrix i the elements 2 (l % 4) and the next one of row l / 4 in
/// r[i].
__device__ inline void load_matrices(std::uint32_t (&r)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row.value)
               : "memory");
}

/// The same with each matrix transposed.
__device__ inline void load_matrices_transposed(std::uint32_t (&r)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row.value)
               : "memory");
}

/// c += a b, a warp together, bfloat16 with float32 sums: a [16, 16] and b [16, 8] as load_matrices
/// gives them (b as [8, 16], n by k), c [16, 8]: lane l holds columns 2 (l % 4) and the next one of
/// row l / 4 in c[0], c[1], and of row l / 4 + 8 in c[2], c[3].
__device__ inline void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                    std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif

}  // namespace gradus::cuda
#endif

namespace gradus::cuda {

/// Two bfloat16 in a word, rounded to nearest, ties to even.
__device__ inline std::uint32_t round_pair(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  std::uint32_t pair = 0;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return BFloat16(low).bits | static_cast<std::uint32_t>(BFloat16(high).bits) << 16;
#endif
}

}  // namespace gradus::cuda
