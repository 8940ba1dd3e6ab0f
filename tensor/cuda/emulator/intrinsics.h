// CUDA's words inside kernels, for a host compiler.
//
// A kernel's threads form blocks, and blocks a grid. The threads of a block share memory and can
// wait for each other (__syncthreads); each 32 of them are a warp, whose lanes exchange registers
// directly (__shfl_sync). Here each thread is a fibre: it gives way only where it waits, so what is
// one instruction on a GPU (an atomic operation, say) cannot be interrupted here either.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#include "tensor/cuda/emulator/counters.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
// One block runs at a time, so that what its threads share can be static; SharedArray starts anew
// with each block.
#define __shared__ static

inline constexpr int warpSize = 32;
inline constinit uint3 threadIdx{}, blockIdx{};
inline constinit dim3 blockDim{}, gridDim{};

namespace gradus::cuda::emulator {

enum class BarrierKind : std::uint8_t { plain, any, all, count };
enum class WarpKind : std::uint8_t {
  sync,
  shuffle,
  vote,
  load_matrices,  // from here on tensor_core.h's
  load_matrices_transposed,
  multiply_add,
  multiply_add_tf32,
};

/// Waits until every thread of the block is here; returns for how many `predicate` held.
int wait_for_block(BarrierKind kind, bool predicate, std::source_location place);
/// Numbers of named barriers are below; 0 is that of the whole block.
inline constexpr int named_barriers = 16;
/// The thread comes to a named barrier, which `threads` threads must come to; with `waits`, returns
/// when they have.
void come_to_named_barrier(int number, int threads, bool waits, std::source_location place);

/// Waits until every lane of `mask` is here. A shuffle returns the value of lane `source`, a vote
/// the lanes whose value is not zero.
std::uint64_t wait_for_warp(WarpKind kind, unsigned mask, std::uint64_t value, int source,
                            std::source_location place);

/// The operations of tensor_core.h: one instruction that all lanes execute at the same place.
inline bool is_matrix_operation(WarpKind kind) { return kind >= WarpKind::load_matrices; }

/// Carries one out for a whole warp; what each lane brought is the address of its operands.
void run_matrix_operation(WarpKind kind, const std::array<std::uint64_t, 32>& operands);

/// This thread's number in its block.
inline std::size_t thread_index() {
  return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}
/// Its place in its warp.
inline int lane() { return static_cast<int>(thread_index() % 32); }

template <class T>
T shuffle(unsigned mask, T value, int source, std::source_location place) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8),
                "CUDA shuffles 4 and 8 byte numbers");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  if (counts_accesses) note_lane_exchange();
  bits = wait_for_warp(WarpKind::shuffle, mask, bits, source, place);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

template <class T>
inline constexpr bool is_atomic =
    std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, unsigned long long>;

/// *address = change(*address); returns what was there.
template <class T, class Change>
T atomic(T* address, Change change) {
  const T old = *address;
  *address = change(old);
  return old;
}

}  // namespace gradus::cuda::emulator

// --- barriers ------------------------------------------------------------------------------------
#define GRADUS_PLACE std::source_location place = std::source_location::current()

inline void __syncthreads(GRADUS_PLACE) {
  using namespace gradus::cuda::emulator;
  wait_for_block(BarrierKind::plain, false, place);
}
inline int __syncthreads_or(int predicate, GRADUS_PLACE) {
  using namespace gradus::cuda::emulator;
  return wait_for_block(BarrierKind::any, predicate != 0, place) > 0;
}
inline int __syncthreads_and(int predicate, GRADUS_PLACE) {
  using namespace gradus::cuda::emulator;
  return wait_for_block(BarrierKind::all, predicate == 0, place) == 0;
}
inline int __syncthreads_count(int predicate, GRADUS_PLACE) {
  using namespace gradus::cuda::emulator;
  return wait_for_block(BarrierKind::count, predicate != 0, place);
}

// --- warps: shuffles among segments of `width` lanes, and votes ---------------------------------
inline void __syncwarp(unsigned mask = ~0u, GRADUS_PLACE) {
  using namespace gradus::cuda::emulator;
  wait_for_warp(WarpKind::sync, mask, 0, 0, place);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, GRADUS_PLACE) {
  using namespace gradus::cuda::emulator;
  return shuffle(mask, value, (lane() & -width) | (source & (width - 1)), place);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int flipped, int width = 32, GRADUS_PLACE) {
  using namespace gradus::cuda::emulator;
  const int source = lane() ^ flipped, end = (lane() & -width) + width;
  return shuffle(mask, value, source < end ? source : lane(), place);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, GRADUS_PLACE) {
  using namespace gradus::cuda::emulator;
  const int source = lane() + static_cast<int>(distance), end = (lane() & -width) + width;
  return shuffle(mask, value, source < end ? source : lane(), place);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, GRADUS_PLACE) {
  using namespace gradus::cuda::emulator;
  const int source = lane() - static_cast<int>(distance), begin = lane() & -width;
  return shuffle(mask, value, source >= begin ? source : lane(), place);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, GRADUS_PLACE) {
  using namespace gradus::cuda::emulator;
  return static_cast<unsigned>(wait_for_warp(WarpKind::vote, mask, predicate != 0, 0, place));
}
inline int __any_sync(unsigned mask, int predicate, GRADUS_PLACE) {
  return __ballot_sync(mask, predicate, place) != 0;
}
inline int __all_sync(unsigned mask, int predicate, GRADUS_PLACE) {
  return __ballot_sync(mask, predicate, place) == mask;
}
#undef GRADUS_PLACE

// --- atomic operations; each returns what was there ----------------------------------------------
template <class T>
T atomicAdd(T* address, std::type_identity_t<T> x) {
  static_assert(gradus::cuda::emulator::is_atomic<T> || std::is_floating_point_v<T>);
  return gradus::cuda::emulator::atomic(address, [x](T old) { return static_cast<T>(old + x); });
}
template <class T>
T atomicMax(T* address, std::type_identity_t<T> x) {
  static_assert(gradus::cuda::emulator::is_atomic<T> || std::is_same_v<T, long long>);
  return gradus::cuda::emulator::atomic(address, [x](T old) { return old > x ? old : x; });
}
template <class T>
T atomicMin(T* address, std::type_identity_t<T> x) {
  static_assert(gradus::cuda::emulator::is_atomic<T> || std::is_same_v<T, long long>);
  return gradus::cuda::emulator::atomic(address, [x](T old) { return old < x ? old : x; });
}
template <class T>
T atomicOr(T* address, std::type_identity_t<T> x) {
  static_assert(gradus::cuda::emulator::is_atomic<T>);
  return gradus::cuda::emulator::atomic(address, [x](T old) { return old | x; });
}
template <class T>
T atomicExch(T* address, std::type_identity_t<T> x) {
  static_assert(gradus::cuda::emulator::is_atomic<T> || std::is_same_v<T, float>);
  return gradus::cuda::emulator::atomic(address, [x](T) { return x; });
}
template <class T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> x) {
  static_assert(gradus::cuda::emulator::is_atomic<T>);
  return gradus::cuda::emulator::atomic(address, [=](T old) { return old == expected ? x : old; });
}
inline void __threadfence() {}  // every write is visible at once here
inline void __threadfence_block() {}

// --- numbers -------------------------------------------------------------------------------------
using std::max;
using std::min;
template <class T>
T __ldg(const T* address) {
  gradus::cuda::emulator::count_global_access(address, sizeof(T));
  return *address;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdividef(float a, float b) { return a / b; }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((std::uint64_t{a} * b) >> 32);
}
