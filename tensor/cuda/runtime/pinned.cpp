#include "tensor/cuda/runtime/pinned.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>

#include <gradus/tensor/check.h>
#include "tensor/cuda/runtime/runtime.h"

namespace gradus::cuda {
namespace {

/// Of one size; then the host waits for the GPU instead of taking another.
constexpr std::size_t most_kept = 16;

/// Blocks come in powers of two, so that few sizes serve all.
std::size_t block_size(std::size_t bytes) {
  return std::bit_ceil(std::max<std::size_t>(bytes, 64));
}

}  // namespace

struct PinnedBlock::Pool {
  std::mutex mutex;
  std::map<std::size_t, std::deque<Memory>> kept;  // by size, the longest kept first
  std::size_t count = 0;
};

/// Never destroyed: blocks in static storage may outlive any order of destruction.
PinnedBlock::Pool& PinnedBlock::pool() {
  static auto* pool = new Pool;
  return *pool;
}

PinnedBlock::PinnedBlock(std::size_t bytes) : bytes_(bytes) {
  stream();  // the device must be open
  const std::lock_guard lock(pool().mutex);
  auto& kept = pool().kept[block_size(bytes)];
  if (!kept.empty() &&
      (kept.size() >= most_kept || cudaEventQuery(kept.front().copied) != cudaErrorNotReady)) {
    memory_ = kept.front();
    kept.pop_front();
    return;
  }
  GRADUS_CUDA_CHECK(cudaMallocHost(&memory_.data, block_size(bytes)));
  GRADUS_CUDA_CHECK(cudaEventCreateWithFlags(&memory_.copied, cudaEventDisableTiming));
  ++pool().count;
}

PinnedBlock::~PinnedBlock() {
  const std::lock_guard lock(pool().mutex);
  pool().kept[block_size(bytes_)].push_back(memory_);
}

void PinnedBlock::copy_to_device(void* to, const void* from) {
  GRADUS_CUDA_CHECK(cudaEventSynchronize(memory_.copied));  // of the block's last user
  std::memcpy(memory_.data, from, bytes_);
  GRADUS_CUDA_CHECK(cudaMemcpyAsync(to, memory_.data, bytes_, cudaMemcpyHostToDevice, stream()));
  GRADUS_CUDA_CHECK(cudaEventRecord(memory_.copied, stream()));
}

void PinnedBlock::copy_from_device(const void* from) {
  GRADUS_CUDA_CHECK(cudaMemcpyAsync(memory_.data, from, bytes_, cudaMemcpyDeviceToHost, stream()));
  GRADUS_CUDA_CHECK(cudaEventRecord(memory_.copied, stream()));
}

void PinnedBlock::read(void* to) const {
  GRADUS_CUDA_CHECK(cudaEventSynchronize(memory_.copied));
  if (bytes_ > 0) std::memcpy(to, memory_.data, bytes_);
}

std::size_t PinnedBlock::count() {
  const std::lock_guard lock(pool().mutex);
  return pool().count;
}

std::function<void(void*)> read_back(const void* from, std::size_t bytes) {
  check(!recording(), "cuda", "reading back cannot be part of a captured graph");
  const auto block = std::make_shared<PinnedBlock>(bytes);
  block->copy_from_device(from);
  return [block](void* to) { block->read(to); };
}

}  // namespace gradus::cuda
