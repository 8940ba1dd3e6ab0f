// Device memory: the driver's stream-ordered pool, and pools of captured graphs.
#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include <gradus/tensor/check.h>
#include "tensor/cuda/runtime/graph_pool.h"
#include "tensor/cuda/runtime/runtime.h"

namespace gradus::cuda {
namespace {

struct State {
  std::mutex mutex;  // guards all below
  MemoryStats counts;
  std::shared_ptr<GraphPool> capturing_pool;
  std::map<void*, std::shared_ptr<GraphPool>> graph_blocks;  // handed out by graphs' pools
  std::vector<void*> freed_while_capturing;
};

/// Never destroyed: tensors in static storage may outlive any order of destruction.
State& state() {
  static auto* all = new State;
  return *all;
}

/// Taken from the driver; a pool may end without the mutex.
std::atomic<std::size_t> graph_pool_bytes = 0;

cudaMemPool_t default_pool() {
  cudaMemPool_t pool = nullptr;
  GRADUS_CUDA_CHECK(cudaDeviceGetDefaultMemPool(&pool, 0));
  return pool;
}

[[noreturn]] void fail_out_of_memory(std::size_t bytes) {
  std::size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  constexpr double mib = 0x1p20;
  fail("cuda",
       "out of GPU memory: {:.1f} MiB asked for, {:.1f} MiB of {:.1f} MiB free, {:.1f} MiB in use "
       "by tensors; a smaller batch, or bfloat16, needs less",
       static_cast<double>(bytes) / mib, static_cast<double>(free) / mib,
       static_cast<double>(total) / mib, static_cast<double>(state().counts.in_use) / mib);
}

/// What `allocate(void**)` gives; where it finds no memory, once more after release(), which lets
/// go of what is cached.
template <class Allocate, class Release>
void* allocate_or_retry(std::size_t bytes, const Allocate& allocate, const Release& release) {
  void* memory = nullptr;
  cudaError_t status = allocate(&memory);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    release();
    status = allocate(&memory);
  }
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    fail_out_of_memory(bytes);
  }
  GRADUS_CUDA_CHECK(status);
  return memory;
}

void trim_pool() { GRADUS_CUDA_CHECK(cudaMemPoolTrimTo(default_pool(), 0)); }

void* allocate_from_driver(std::size_t bytes) {
  return allocate_or_retry(
      bytes, [bytes](void** memory) { return cudaMallocAsync(memory, bytes, stream()); },
      [] {
        GRADUS_CUDA_CHECK(cudaStreamSynchronize(stream()));
        trim_pool();
      });
}

}  // namespace

void* GraphPool::allocate(std::size_t bytes) {
  if (auto& blocks = free_[bytes]; !blocks.empty()) {
    void* block = blocks.back();
    blocks.pop_back();
    return block;
  }
  // Not ordered on the captured stream, which must not be waited for either.
  void* const block = allocate_or_retry(
      bytes, [bytes](void** memory) { return cudaMalloc(memory, bytes); }, trim_pool);
  blocks_.push_back(block);
  graph_pool_bytes += bytes;
  bytes_ += bytes;
  return block;
}

void GraphPool::deallocate(void* block, std::size_t bytes, bool until_join) {
  if (until_join)
    until_join_.emplace_back(block, bytes);
  else
    free_[bytes].push_back(block);
}

void GraphPool::join() {
  for (const auto& [block, bytes] : until_join_) free_[bytes].push_back(block);
  until_join_.clear();
}

GraphPool::~GraphPool() {
  graph_pool_bytes -= bytes_;
  for (void* block : blocks_) cudaFree(block);
}

void begin_graph_memory(std::shared_ptr<GraphPool> pool) {
  const std::lock_guard lock(state().mutex);
  state().capturing_pool = std::move(pool);
}

void end_graph_memory() {
  const std::lock_guard lock(state().mutex);
  state().capturing_pool.reset();
  for (void* memory : state().freed_while_capturing) cudaFreeAsync(memory, stream());
  state().freed_while_capturing.clear();
}

void join_graph_memory() noexcept {
  const std::lock_guard lock(state().mutex);
  if (state().capturing_pool) state().capturing_pool->join();
}

void* allocate(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  const std::lock_guard lock(state().mutex);
  void* memory = nullptr;
  if (state().capturing_pool) {
    memory = state().capturing_pool->allocate(bytes);
    state().graph_blocks.emplace(memory, state().capturing_pool);
  } else {
    memory = allocate_from_driver(bytes);
  }
  state().counts.in_use += bytes;
  state().counts.peak_in_use = std::max(state().counts.peak_in_use, state().counts.in_use);
  return memory;
}

void deallocate(void* memory, std::size_t bytes) noexcept {
  if (!memory) return;
  std::shared_ptr<GraphPool> last_owner;  // a pool may end here, after the lock
  const std::lock_guard lock(state().mutex);
  state().counts.in_use -= bytes;
  if (const auto block = state().graph_blocks.find(memory); block != state().graph_blocks.end()) {
    block->second->deallocate(memory, bytes, launch_lane() == Lane::side);
    last_owner = std::move(block->second);
    state().graph_blocks.erase(block);
  } else if (state().capturing_pool) {
    // It is from before: its release is no part of the graph.
    state().freed_while_capturing.push_back(memory);
  } else {
    cudaFreeAsync(memory, stream());
  }
}

std::size_t free_memory() {
  std::size_t free = 0, total = 0;
  GRADUS_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return free;
}

MemoryStats memory_stats() {
  const std::lock_guard lock(state().mutex);
  MemoryStats result = state().counts;
  std::uint64_t reserved = 0;
  GRADUS_CUDA_CHECK(
      cudaMemPoolGetAttribute(default_pool(), cudaMemPoolAttrReservedMemCurrent, &reserved));
  result.reserved = static_cast<std::size_t>(reserved) + graph_pool_bytes;
  return result;
}

void reset_peak_memory() {
  const std::lock_guard lock(state().mutex);
  state().counts.peak_in_use = state().counts.in_use;
}

void release_cached_memory() {
  synchronize();
  trim_pool();
}

}  // namespace gradus::cuda
