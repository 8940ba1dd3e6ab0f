// The emulated GPU's memory: part of the process's address space that the host may not touch.
//
// A GPU has memory of its own. A pointer into it is only a number to the host, which copies from
// and to it by cudaMemcpy. Here all of it lies in one range of addresses without access rights;
// they are given while a kernel, a library call or a copy runs (DeviceAccess), and taken back after
// it. Memory that nobody has written reads as 0xFF bytes, which are NaN in every floating-point
// type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

namespace gradus::cuda::emulator {

struct Allocation {
  std::uintptr_t begin = 0;
  std::size_t size = 0;

  void* data() const { return reinterpret_cast<void*>(begin); }
};

class DeviceMemory {
 public:
  static DeviceMemory& instance();

  /// 256-byte aligned memory, or nullptr beyond the limit.
  void* allocate(std::size_t bytes);
  /// Whether `memory` was an allocation; faults if something was written beside it.
  bool free(void* memory);

  /// The stream-ordered pool: what is freed to it stays counted against the limit, and serves its
  /// later requests, until it is trimmed.
  void* allocate_from_pool(std::size_t bytes);
  bool free_to_pool(void* memory);
  void trim_pool() { cached_ = 0; }
  /// Bytes that the pool has handed out or keeps.
  std::size_t pool_bytes() const { return pool_used_ + cached_; }

  /// Whether an address is the device's.
  bool owns(const void* address) const {
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    return at >= base_ && at < base_ + reserved_bytes;
  }
  /// The live allocation that an address points into, or just behind; size 0 if there is none.
  Allocation find(const void* address) const;
  /// Faults unless [address, address + bytes) lies in one live allocation. `what` begins the
  /// message.
  void require(const void* address, std::size_t bytes, const char* what) const;
  /// Faults if something was written right before or behind the allocation.
  void check_surroundings(const Allocation& allocation) const;

  std::size_t used() const { return used_; }
  /// What counts against the limit: used, or kept by the pool.
  std::size_t taken() const { return used_ + cached_; }
  std::size_t limit() const { return limit_; }
  void set_limit(std::size_t bytes) { limit_ = bytes; }
  void set_poison(bool on) { poison_ = on; }

 private:
  friend class DeviceAccess;
  static constexpr std::size_t reserved_bytes = std::size_t{64} << 30;

  DeviceMemory();
  void set_access(bool on);

  std::recursive_mutex mutex_;  // held while the device works: it does one thing at a time
  int users_ = 0;               // DeviceAccess objects
  std::uintptr_t base_ = 0;
  std::uintptr_t end_ = 0;  // of what was ever allocated
  std::size_t used_ = 0, limit_ = 0;
  std::size_t pool_used_ = 0, cached_ = 0;
  bool poison_ = true;
  std::map<std::uintptr_t, std::size_t> live_;
};

/// While one is alive, device memory can be accessed, and no other host thread can use the device.
class DeviceAccess {
 public:
  DeviceAccess();
  ~DeviceAccess();
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
};

/// Whether `address` is mapped in this process: a pointer to host memory, if not the device's.
bool is_mapped(const void* address);

}  // namespace gradus::cuda::emulator
