// The CPU's memory: freed blocks are kept and handed out again.
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include <gradus/tensor/check.h>
#include "tensor/backend/arithmetic.h"
#include "tensor/backend/runtime.h"
#include "tensor/cpu/range_set.h"

namespace gradus::cpu {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
// A cached block would hide the use of freed memory from the sanitizer.
constexpr bool caching = false;
#else
constexpr bool caching = true;
#endif

constexpr std::size_t alignment = 64;
constexpr std::size_t pages = std::size_t{64} << 10;  // a multiple of any system's page
constexpr std::size_t huge_page = std::size_t{2} << 20;
constexpr std::size_t large = std::size_t{1} << 20;
constexpr std::size_t very_large = std::size_t{12} << 20;

constexpr std::size_t round_down(std::size_t n, std::size_t step) { return n / step * step; }

/// What a request takes: 64-byte steps up to 1 KiB, then eight classes an octave, so that a block
/// is at most 1/8 larger than asked for and recurring sizes meet their own blocks again; from
/// 1 MiB on, 64 KiB steps.
std::size_t block_size(std::size_t bytes) {
  if (bytes <= 1024) return round_up(bytes, alignment);
  return round_up(bytes, bytes >= large ? pages : std::bit_floor(bytes - 1) / 8);
}

double mebibytes(std::size_t bytes) { return static_cast<double>(bytes) / 0x1p20; }

/// Freed blocks, kept by size.
class SizeClasses {
 public:
  /// A kept block, or a new one, or null if the system has none; counted in `stats`.
  void* allocate(std::size_t size, MemoryStats& stats) {
    if (auto& blocks = free_[size]; !blocks.empty()) {
      void* block = blocks.back();
      blocks.pop_back();
      return block;
    }
    void* block = std::aligned_alloc(alignment, size);
    if (block) {
      stats.reserved += size;
      ++stats.system_allocations;
    }
    return block;
  }

  void deallocate(void* block, std::size_t size) { free_[size].push_back(block); }

  void release(MemoryStats& stats) {
    for (auto& [size, blocks] : free_) {
      for (void* block : blocks) std::free(block);
      stats.reserved -= size * blocks.size();
      blocks.clear();
    }
  }

 private:
  std::map<std::size_t, std::vector<void*>> free_;
};

/// Places blocks of whole pages in one range of addresses, which is reserved once. A block gets the
/// smallest free place that it fits, and a freed one joins its free neighbours, so that a few large
/// blocks make room for many small ones and the other way round. Memory is taken from the system
/// where a block lies for the first time, and kept.
///
/// Very large blocks have a part of the range to themselves: gradients of weights, which stay until
/// the next step, would break up the places of activations. A step of batch 256 that checkpoints
/// activations, so that they come and go in backward, too, takes 2 % (float32) and 8 % (bfloat16)
/// more from the system than its blocks have at their most, where one part for all takes 23 and 26
/// % more. Without checkpoints it takes 4 % more, where one part takes 2.
class Arena {
 public:
  /// Null if the system has no memory, or the range no place.
  void* allocate(std::size_t size, MemoryStats& stats) {
    if (!base_ && !reserve_addresses()) return nullptr;
    const bool is_very_large = size >= very_large;
    std::optional<std::size_t> first = free_[is_very_large].best_fit(size);
    if (!first) first = free_[!is_very_large].best_fit(size);
    if (!first) return nullptr;
    const std::size_t last = *first + size;
    if (!backed_.contains(*first, last)) {
      const std::size_t from = round_down(*first, huge_page);
      if (::mprotect(base_ + from, round_up(last, huge_page) - from, PROT_READ | PROT_WRITE) != 0) {
        return nullptr;
      }
      stats.reserved += backed_.insert(*first, last);
      ++stats.system_allocations;
    }
    free_at(*first).erase(*first, last);
    return base_ + *first;
  }

  void deallocate(void* block, std::size_t size) {
    const auto first = static_cast<std::size_t>(static_cast<std::byte*>(block) - base_);
    free_at(first).insert(first, first + size);
  }

  void release(MemoryStats& stats) {
    for (const RangeSet& part : free_) {
      for (const auto& [first, last] : part) {
        const std::size_t removed = backed_.erase(first, last);
        if (removed > 0) ::madvise(base_ + first, last - first, MADV_DONTNEED);
        stats.reserved -= removed;
      }
    }
  }

 private:
  /// Far more addresses than any machine has memory; where their number is limited, as many as
  /// leave a third of these to all else. They cost nothing: no access, no memory.
  bool reserve_addresses() {
    constexpr std::size_t most = std::size_t{1} << 44, least = std::size_t{1} << 26;
    const auto reserve = [](std::size_t bytes) {
      return ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    };
    for (std::size_t size = most; size >= least; size = round_down(size / 4 * 3, 8 * huge_page)) {
      void* range = reserve(size + size / 2);
      if (range == MAP_FAILED) continue;
      ::munmap(static_cast<std::byte*>(range) + size, size / 2);
      const std::size_t address = reinterpret_cast<std::uintptr_t>(range);
      const std::size_t skipped = round_up(address, huge_page) - address;
      base_ = static_cast<std::byte*>(range) + skipped;
      border_ = size / 8;
      free_[0].insert(0, border_);
      free_[1].insert(border_, round_down(size - skipped, huge_page));
      ::madvise(range, size, MADV_HUGEPAGE);
      return true;
    }
    return false;
  }

  RangeSet& free_at(std::size_t offset) { return free_[offset >= border_]; }

  // All are offsets from base_.
  std::byte* base_ = nullptr;
  std::size_t border_ = 0;        ///< where the part of very large blocks begins
  std::array<RangeSet, 2> free_;  ///< in the two parts
  RangeSet backed_;
};

/// Freed memory is kept and handed out again, so that a training step asks the system for nothing
/// after the first few (and meets no page faults).
class CachingAllocator {
 public:
  void* allocate(std::size_t bytes) {
    if (bytes == 0) return nullptr;
    const std::size_t size = block_size(bytes);
    std::lock_guard lock(mutex_);
    void* block = allocate_locked(size);
    if (!block) {
      release_locked();
      block = allocate_locked(size);
    }
    check(block != nullptr, "allocate",
          "out of memory: {:.1f} MiB asked for, {:.1f} MiB in use; a smaller batch needs less",
          mebibytes(size), mebibytes(stats_.in_use));
    stats_.in_use += size;
    stats_.peak_in_use = std::max(stats_.peak_in_use, stats_.in_use);
    return block;
  }

  void deallocate(void* block, std::size_t bytes) {
    if (!block) return;
    const std::size_t size = block_size(bytes);
    std::lock_guard lock(mutex_);
    stats_.in_use -= size;
    if (in_arena(size)) {
      arena_.deallocate(block, size);
    } else {
      size_classes_.deallocate(block, size);
      if (!caching) size_classes_.release(stats_);
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
  static bool in_arena(std::size_t size) { return caching && size >= large; }

  void* allocate_locked(std::size_t size) {
    return in_arena(size) ? arena_.allocate(size, stats_) : size_classes_.allocate(size, stats_);
  }

  void release_locked() {
    size_classes_.release(stats_);
    arena_.release(stats_);
  }

  std::mutex mutex_;
  SizeClasses size_classes_;  ///< blocks below 1 MiB
  Arena arena_;
  MemoryStats stats_;
};

/// Never destroyed: tensors in static storage may outlive any order of destruction.
CachingAllocator& allocator() {
  static auto* allocator = new CachingAllocator;
  return *allocator;
}

}  // namespace

void* allocate(std::size_t bytes) { return allocator().allocate(bytes); }
void deallocate(void* memory, std::size_t bytes) noexcept { allocator().deallocate(memory, bytes); }
MemoryStats memory_stats() { return allocator().stats(); }
void reset_peak_memory() { allocator().reset_peak(); }
void release_cached_memory() { allocator().release(); }

}  // namespace gradus::cpu
