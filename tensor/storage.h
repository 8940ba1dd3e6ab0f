// Memory of tensors: a reference-counted block from the device's caching allocator (on a GPU, the
// driver's stream-ordered pool).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <gradus/tensor/device.h>

namespace gradus {

/// A block of memory on a device, 64-byte aligned, given back to the allocator when destroyed.
class Storage {
 public:
  /// Uninitialised memory. Throws Error if there is not that much, or no such device.
  Storage(std::size_t bytes, Device device);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  /// Address on the device; null for 0 bytes.
  void* data() const { return data_; }
  /// The size that was asked for.
  std::size_t bytes() const { return bytes_; }
  Device device() const { return device_; }

  /// How often the memory may have been changed (Tensor::version).
  std::uint64_t version() const { return version_.load(std::memory_order_relaxed); }
  /// Says that it may have been changed now.
  void count_change() { version_.fetch_add(1, std::memory_order_relaxed); }

 private:
  void* data_;
  std::size_t bytes_;
  Device device_;
  std::atomic<std::uint64_t> version_ = 0;  // threads may write to parts of one storage
};

/// What the allocator has handed out and holds, in bytes. The CPU's rounds blocks up to size
/// classes (the next 64 bytes up to 1 KiB, at most 1/8 larger up to 1 MiB, the next 64 KiB above)
/// and counts the rounded sizes; on a GPU in_use counts what was asked for.
struct MemoryStats {
  std::size_t in_use = 0;       ///< held by live tensors
  std::size_t peak_in_use = 0;  ///< highest in_use since the start or the last reset
  std::size_t reserved = 0;     ///< taken from the system: in use, or cached for the next request
  std::uint64_t system_allocations = 0;  ///< how often memory was taken from it; 0 for a GPU
};

/// The figures as they are now, of all threads together. Throws Error, as the next two do, for a
/// device that cannot be used.
MemoryStats memory_stats(Device device = Device::cpu);
/// Sets peak_in_use to in_use.
void reset_peak_memory(Device device = Device::cpu);
/// Gives cached blocks back to the system; waits for a GPU.
void release_cached_memory(Device device = Device::cpu);

}  // namespace gradus
