// Tensor cores and asynchronous copies, one thin function an instruction. For compute
// capability 8.0 and newer; the emulated GPU has stand-ins (emulator/tensor_core.h).
#pragma once

#include <bit>
#include <type_traits>

#include <gradus/tensor/bfloat16.h>
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
template <class E>
__device__ void multiply_add(float (&)[4], const std::uint32_t (&)[4], std::uint32_t,
                             std::uint32_t) {
  __trap();
}
__device__ inline float round_to_tf32(float x) { return x; }
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
/// r[i]. Or 8x4 matrices of 32-bit elements, of which it gets element l % 4 of row l / 4.
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

/// c += a b, a warp together, with float32 sums: a [16, k] and b [k, 8] as load_matrices gives them
/// (b as [8, k], n by k), where E is BFloat16 and k is 16, or E is float and k is 8, of which
/// TF32's 10 bits of mantissa are taken; c [16, 8]: lane l holds columns 2 (l % 4) and the next one
/// of row l / 4 in c[0], c[1], and of row l / 4 + 8 in c[2], c[3].
template <class E>
__device__ inline void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                    std::uint32_t b1) {
  if constexpr (std::is_same_v<E, float>) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

/// x rounded to TF32, ties away from zero. The tensor cores themselves drop bits instead.
__device__ inline float round_to_tf32(float x) {
  std::uint32_t bits = 0;
  asm("cvt.rna.tf32.f32 %0, %1;\n" : "=r"(bits) : "f"(x));
  return __uint_as_float(bits);
}

#endif

}  // namespace gradus::cuda
#endif

namespace gradus::cuda {

/// x, which the tensor cores then take as round_to_tf32(x): half of the last bit that they keep is
/// added, and what they drop stays. Two instructions instead of three; not for subnormal numbers.
__device__ inline float round_for_product(float x) {
  const float power = std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) & 0xFF800000u);
  return power * 0x1p-11f + x;  // sign and exponent of x alone
}

/// The bits of a float, rounded to TF32.
__device__ inline std::uint32_t round_word_to_tf32(std::uint32_t word) {
  return std::bit_cast<std::uint32_t>(round_to_tf32(std::bit_cast<float>(word)));
}

/// x as the tensor cores take it, E being BFloat16 or, in TF32, float.
template <class E>
__device__ E to_operand(float x) {
  if constexpr (std::is_same_v<E, float>) {
    return round_to_tf32(x);
  } else {
    return E(x);
  }
}

/// Two neighbouring results; as bfloat16 rounded to nearest, ties to even.
template <class E>
__device__ Vector<E, 2> to_pair(float first, float second) {
  if constexpr (std::is_same_v<E, float>) {
    return {{first, second}};
  } else {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    std::uint32_t pair = 0;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(pair) : "f"(second), "f"(first));
    return std::bit_cast<Vector<BFloat16, 2>>(pair);
#else
    return {{BFloat16(first), BFloat16(second)}};
#endif
  }
}

}  // namespace gradus::cuda
