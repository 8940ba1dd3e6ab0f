#include "tensor/storage.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#include "tensor/check.h"

#if defined(GRADUS_CUDA)
#include "tensor/cuda/runtime.h"
#endif

namespace gradus {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
// A cached block would hide the use of freed memory from the sanitizer.
constexpr bool caching = false;
#else
constexpr bool caching = true;
#endif

constexpr std::size_t alignment = 64;
constexpr std::size_t huge_page = std::size_t{2} << 20;

/// The size class of a request: 64-byte steps up to 1 KiB, then eight classes an octave, so that a
/// block is at most 1/8 larger than asked for and recurring sizes meet their own blocks again.
std::size_t size_class(std::size_t bytes) {
  if (bytes <= 1024) return (bytes + alignment - 1) / alignment * alignment;
  const std::size_t step = std::bit_floor(bytes - 1) / 8;
  return (bytes + step - 1) / step * step;
}

void* system_allocate(std::size_t bytes) {
  const std::size_t align = bytes >= huge_page ? huge_page : alignment;
  void* block = std::aligned_alloc(align, (bytes + align - 1) / align * align);
  if (block && bytes >= huge_page) ::madvise(block, bytes, MADV_HUGEPAGE);
  return block;
}

/// Freed blocks are kept by size class and handed out again, so that a training step asks the
/// system for nothing after the first few (and meets no page faults).
class CachingAllocator {
 public:
  void* allocate(std::size_t bytes) {
    if (bytes == 0) return nullptr;
    const std::size_t size = size_class(bytes);
    std::lock_guard lock(mutex_);
    void* block = nullptr;
    if (auto& blocks = free_[size]; !blocks.empty()) {
      block = blocks.back();
      blocks.pop_back();
    } else {
      block = system_allocate(size);
      if (!block) {
        release_locked();
        block = system_allocate(size);
      }
      check(block != nullptr, "allocate",
            "out of memory: {:.1f} MiB asked for, {:.1f} MiB in use; a smaller batch needs less",
            static_cast<double>(size) / 0x1p20, static_cast<double>(stats_.in_use) / 0x1p20);
      stats_.reserved += size;
      ++stats_.system_allocations;
    }
    stats_.in_use += size;
    stats_.peak_in_use = std::max(stats_.peak_in_use, stats_.in_use);
    return block;
  }

  void deallocate(void* block, std::size_t bytes) {
    if (!block) return;
    const std::size_t size = size_class(bytes);
    std::lock_guard lock(mutex_);
    stats_.in_use -= size;
    if (caching) {
      free_[size].push_back(block);
    } else {
      std::free(block);
      stats_.reserved -= size;
    }
  }

  MemoryStats stats() {
    std::lock_guard lock(mutex_);
    return stats_;
  }

  void reset_peak() {
    std::lock_guard lock(mutex_);
    stats_.peak_in_use = stats_.in_use;
  }

  void release() {
    std::lock_guard lock(mutex_);
    release_locked();
  }

 private:
  void release_locked() {
    for (auto& [size, blocks] : free_) {
      for (void* block : blocks) std::free(block);
      stats_.reserved -= size * blocks.size();
      blocks.clear();
    }
  }

  std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> free_;
  MemoryStats stats_;
};

/// Never destroyed: tensors in static storage may outlive any order of destruction.
CachingAllocator& cpu_allocator() {
  static auto* allocator = new CachingAllocator;
  return *allocator;
}

#if defined(GRADUS_CUDA)

void* allocate(std::size_t bytes, Device device) {
  return device == Device::cuda ? cuda::allocate(bytes) : cpu_allocator().allocate(bytes);
}

void deallocate(void* memory, std::size_t bytes, Device device) {
  if (device == Device::cuda) {
    cuda::deallocate(memory, bytes);
  } else {
    cpu_allocator().deallocate(memory, bytes);
  }
}

#else

void* allocate(std::size_t bytes, Device device) {
  check(device == Device::cpu, "allocate", "{}", cuda_unavailable_reason());
  return cpu_allocator().allocate(bytes);
}

void deallocate(void* memory, std::size_t bytes, Device) {
  cpu_allocator().deallocate(memory, bytes);
}

#endif

}  // namespace

Storage::Storage(std::size_t bytes, Device device)
    : data_(allocate(bytes, device)), bytes_(bytes), device_(device) {}

Storage::~Storage() { deallocate(data_, bytes_, device_); }

MemoryStats memory_stats([[maybe_unused]] Device device) {
#if defined(GRADUS_CUDA)
  if (device == Device::cuda) {
    const auto [in_use, peak_in_use, reserved] = cuda::memory_counts();
    return {.in_use = in_use, .peak_in_use = peak_in_use, .reserved = reserved};
  }
#endif
  return cpu_allocator().stats();
}

void reset_peak_memory([[maybe_unused]] Device device) {
#if defined(GRADUS_CUDA)
  if (device == Device::cuda) return cuda::reset_peak_memory();
#endif
  cpu_allocator().reset_peak();
}

void release_cached_memory([[maybe_unused]] Device device) {
#if defined(GRADUS_CUDA)
  if (device == Device::cuda) return cuda::release_cached_memory();
#endif
  cpu_allocator().release();
}

}  // namespace gradus
