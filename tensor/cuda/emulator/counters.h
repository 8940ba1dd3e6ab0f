// What kernels ask of memory, counted as a GPU serves it: a warp at a time.
//
// The threads of a warp run one after the other here, so the n-th access of each of them since the
// last barrier of the block is taken for one instruction. This is exact where the lanes of a warp
// make the same accesses between two barriers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gradus::cuda::emulator {

/// Sums over all launches while an AccessCount is alive; the words are Nsight Compute's.
struct AccessCounters {
  /// Accesses of a warp to shared memory: by SharedArray, DynamicSharedArray, copy_async and
  /// load_matrices.
  std::int64_t shared_requests = 0;
  /// Turns that shared memory takes for them: its 32 banks each serve one word of 4 bytes a turn,
  /// and 128 bytes are the most for all lanes, so that 16 bytes a lane take 4 turns.
  std::int64_t shared_wavefronts = 0;
  /// The turns that they would take without bank conflicts.
  std::int64_t shared_ideal_wavefronts = 0;
  /// Reads of a shared array's element by a thread that is not the last one to have written it.
  std::int64_t shared_reads_of_others = 0;
  /// Accesses of a warp to global memory: by load_vector, store_vector, __ldg and copy_async. Plain
  /// reads and writes through pointers are not seen.
  std::int64_t global_requests = 0;
  /// The 32-byte pieces of memory that they touch.
  std::int64_t global_sectors = 0;
  /// multiply_add of a warp.
  std::int64_t tensor_products = 0;
  /// Values that lanes gave to others of their warp: calls of __shfl_... by each of them.
  std::int64_t lane_exchanges = 0;
};

/// While one is alive, accesses are counted, and each launch is run in one order only.
class AccessCount {
 public:
  AccessCount();
  ~AccessCount();
  AccessCount(const AccessCount&) = delete;
  AccessCount& operator=(const AccessCount&) = delete;
  const AccessCounters& counters() const;

 private:
  bool order_check_;
};

// --- what the emulator tells ---------------------------------------------------------------------
inline constinit bool counts_accesses = false;

void note_shared_access(std::uint64_t offset, std::size_t bytes);
void note_global_access(const void* address, std::size_t bytes);
void note_shared_element(const void* element, bool is_write);
void note_tensor_product();
void note_lane_exchange();
/// All threads of the block have come to a barrier or to the end: nothing to come belongs to a
/// request that was noted before.
void end_requests();

/// The running thread accesses `bytes` of shared memory, at `offset` of an array.
inline void count_shared_access(std::uint64_t offset, std::size_t bytes) {
  if (counts_accesses) [[unlikely]]
    note_shared_access(offset, bytes);
}
/// It reads or writes that element of a shared array.
inline void count_shared_element(const void* element, bool is_write) {
  if (counts_accesses) [[unlikely]]
    note_shared_element(element, is_write);
}
/// It accesses global memory.
inline void count_global_access(const void* address, std::size_t bytes) {
  if (counts_accesses) [[unlikely]]
    note_global_access(address, bytes);
}

}  // namespace gradus::cuda::emulator
