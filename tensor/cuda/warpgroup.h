// Hopper's matrix products of a warpgroup, 4 warps together, thin functions like tensor_core.h's.
// Both matrices lie in shared memory, where the tensor cores read them themselves, and sums are in
// the warps' registers. Products are asynchronous: they are in order with each other, but whoever
// reads the sums, or writes what they read, waits for them first. Only for compute capability 9.0
// itself, in code for sm_90a; the emulated GPU has stand-ins (emulator/warpgroup.h).
#pragma once

#include "tensor/cuda/tensor_core.h"

namespace gradus::cuda {

/// A matrix in shared memory for multiply_add: rows of 128 bytes, at an address that is a multiple
/// of 1024, chunk c of row r at place c ^ (r % 8) as in implicit_gemm.cuh.
/// - rows along k: a group of 8 rows is a group of 8 rows of a, or columns of b;
/// - transposed, a row is one k: there are groups of 8 k, in panels of 64 rows of a, or columns of
/// b.
struct MatrixDescriptor {
  std::uint32_t low, high;
  /// Groups lie group_bytes apart, and panels panel_bytes.
  __device__ MatrixDescriptor(SharedAddress p, std::uint32_t group_bytes, std::uint32_t panel_bytes)
      : low((p.value & 0x3FFFF) >> 4 | panel_bytes >> 4 << 16),
        high(group_bytes >> 4 | std::uint32_t{1} << 30) {}
  /// The matrix that begins `bytes` further on. (An addition of 32 bits: a product does not start
  /// before its descriptors are there, and 64 bits take twice as long.)
  __device__ friend MatrixDescriptor operator+(MatrixDescriptor a, std::uint32_t bytes) {
    a.low += bytes >> 4;
    return a;
  }
  __device__ std::uint64_t bits() const { return std::uint64_t{high} << 32 | low; }
};

}  // namespace gradus::cuda

#if defined(GRADUS_CUDA_EMULATOR)
#include "tensor/cuda/emulator/warpgroup.h"
#else

namespace gradus::cuda {

#if !defined(__CUDA_ARCH_FEAT_SM90_ALL)
// No other GPU has these instructions. Kernels that need them are compiled for it, but not started.
__device__ inline int warpgroup_index() {
  __trap();
  return 0;
}
__device__ inline void wait_at_barrier(int, int) { __trap(); }
__device__ inline void pass_barrier(int, int) { __trap(); }
__device__ inline void publish_copies() { __trap(); }
__device__ inline void begin_products() { __trap(); }
__device__ inline void commit_products() { __trap(); }
template <int pending>
__device__ void wait_for_products() {
  __trap();
}
template <class E, bool transposed, int columns>
__device__ void multiply_add(float (&)[columns][4], MatrixDescriptor, MatrixDescriptor) {
  __trap();
}
__device__ inline void multiply_add(float (&)[8][4], const std::uint32_t (&)[4], MatrixDescriptor) {
  __trap();
}
#else

/// The thread's warpgroup in its block. (By way of lane 0: so it is known to be the same for all
/// lanes, and addresses that depend on it are computed once for a warp.)
__device__ inline int warpgroup_index() {
  return __shfl_sync(0xFFFFFFFFu, static_cast<int>(threadIdx.x) / 128, 0);
}

/// Waits at one of the block's barriers, 1 to 15, until so many threads have come there, by waiting
/// or only by passing by; then it can be used again. For warpgroups that do not go in step.
__device__ inline void wait_at_barrier(int number, int threads) {
  asm volatile("bar.sync %0, %1;\n" ::"r"(number), "r"(threads) : "memory");
}
__device__ inline void pass_barrier(int number, int threads) {
  asm volatile("bar.arrive %0, %1;\n" ::"r"(number), "r"(threads) : "memory");
}

/// Shows the tensor cores what this thread has copied to shared memory and waited for.
__device__ inline void publish_copies() {
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

/// Before the first product of a group: what the warps wrote to registers is there.
__device__ inline void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}

/// Ends a group of products.
__device__ inline void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}

/// Waits until at most `pending` of the groups that were ended last are under way.
template <int pending>
__device__ void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(pending) : "memory");
}

/// c += a b, a warpgroup together, with float32 sums: a [64, k], b [k, n], E and k as with the
/// products of a warp, and c [64, n], of which warp w holds rows 16 w to 16 w + 15, and in c[j]
/// columns 8 j to 8 j + 7. n is 64, 128, 192 or 256. Only bfloat16 can be transposed.
template <class E, bool transposed, int columns>
__device__ __forceinline__ void multiply_add(float (&c)[columns][4], MatrixDescriptor a,
                                             MatrixDescriptor b) {
  static_assert(!transposed || !std::is_same_v<E, float>);
// The names of the instruction's operands: the sums' registers are %0 to n / 2 - 1.
#define GRADUS_TEN(d)                                                                              \
  "%" #d "0, %" #d "1, %" #d "2, %" #d "3, %" #d "4, %" #d "5, %" #d "6, %" #d "7, %" #d "8, %" #d \
  "9"
#define GRADUS_NAMES_30 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, " GRADUS_TEN(1) ", " GRADUS_TEN(2)
#define GRADUS_NAMES_60 GRADUS_NAMES_30 ", " GRADUS_TEN(3) ", " GRADUS_TEN(4) ", " GRADUS_TEN(5)
#define GRADUS_NAMES_90 GRADUS_NAMES_60 ", " GRADUS_TEN(6) ", " GRADUS_TEN(7) ", " GRADUS_TEN(8)
#define GRADUS_NAMES_120 GRADUS_NAMES_90 ", " GRADUS_TEN(9) ", " GRADUS_TEN(10) ", " GRADUS_TEN(11)
// The sums themselves, 8 columns or 64.
#define GRADUS_SUMS_8(j) "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3])
#define GRADUS_SUMS_64(j)                                                             \
  GRADUS_SUMS_8(j), GRADUS_SUMS_8(j + 1), GRADUS_SUMS_8(j + 2), GRADUS_SUMS_8(j + 3), \
      GRADUS_SUMS_8(j + 4), GRADUS_SUMS_8(j + 5), GRADUS_SUMS_8(j + 6), GRADUS_SUMS_8(j + 7)
#define GRADUS_PRODUCT(n, names, a_name, b_name, t_name, ...)                                      \
  if constexpr (std::is_same_v<E, float>) {                                                        \
    asm volatile(                                                                                  \
        "{.reg .pred add;\nsetp.eq.u32 add, 0, 0;\n"                                               \
        "wgmma.mma_async.sync.aligned.m64n" #n "k8.f32.tf32.tf32 {" names "}, " a_name ", " b_name \
        ", add, 1, 1;}\n"                                                                          \
        : __VA_ARGS__                                                                              \
        : "l"(a.bits()), "l"(b.bits()));                                                           \
  } else {                                                                                         \
    asm volatile(                                                                                  \
        "{.reg .pred add;\nsetp.eq.u32 add, 0, 0;\n"                                               \
        "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" names "}, " a_name            \
        ", " b_name ", add, 1, 1, " t_name ", " t_name ";}\n"                                      \
        : __VA_ARGS__                                                                              \
        : "l"(a.bits()), "l"(b.bits()), "n"(transposed ? 1 : 0));                                  \
  }
  if constexpr (columns == 8) {
    GRADUS_PRODUCT(64, GRADUS_NAMES_30 ", %30, %31", "%32", "%33", "%34", GRADUS_SUMS_64(0))
  } else if constexpr (columns == 16) {
    GRADUS_PRODUCT(128, GRADUS_NAMES_60 ", %60, %61, %62, %63", "%64", "%65", "%66",
                   GRADUS_SUMS_64(0), GRADUS_SUMS_64(8))
  } else if constexpr (columns == 24) {
    GRADUS_PRODUCT(192, GRADUS_NAMES_90 ", %90, %91, %92, %93, %94, %95", "%96", "%97", "%98",
                   GRADUS_SUMS_64(0), GRADUS_SUMS_64(8), GRADUS_SUMS_64(16))
  } else {
    static_assert(columns == 32);
    GRADUS_PRODUCT(256, GRADUS_NAMES_120 ", %120, %121, %122, %123, %124, %125, %126, %127", "%128",
                   "%129", "%130", GRADUS_SUMS_64(0), GRADUS_SUMS_64(8), GRADUS_SUMS_64(16),
                   GRADUS_SUMS_64(24))
  }
#undef GRADUS_PRODUCT
}

/// The same of TF32 with a [64, 8] in registers and n = 64: warp w of the warpgroup has rows 16 w
/// and on as multiply_add of a warp has them, and a is not changed before wait_for_products.
__device__ __forceinline__ void multiply_add(float (&c)[8][4], const std::uint32_t (&a)[4],
                                             MatrixDescriptor b) {
  asm volatile(
      "{.reg .pred add;\nsetp.eq.u32 add, 0, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k8.f32.tf32.tf32 {" GRADUS_NAMES_30
      ", %30, %31}, {%32, %33, %34, %35}, %36, add, 1, 1;}\n"
      : GRADUS_SUMS_64(0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits()));
}
#undef GRADUS_SUMS_64
#undef GRADUS_SUMS_8
#undef GRADUS_NAMES_120
#undef GRADUS_NAMES_90
#undef GRADUS_NAMES_60
#undef GRADUS_NAMES_30
#undef GRADUS_TEN

#endif

}  // namespace gradus::cuda
#endif
