#include "tensor/cuda/emulator/memory.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>

#include <gradus/tensor/check.h>
#include "tensor/cuda/emulator/emulator.h"
#include "tensor/cuda/emulator/scheduler.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(begin, size) ((void)(begin), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(begin, size) ((void)(begin), (void)(size))
#endif

namespace gradus::cuda::emulator {
namespace {

constexpr std::size_t alignment = 256;  // of cudaMalloc; also the least distance of allocations
constexpr std::size_t page_bytes = std::size_t{2} << 20;  // huge pages make access rights cheap
constexpr unsigned char unwritten = 0xFF;

std::size_t round_up(std::size_t bytes, std::size_t to) { return (bytes + to - 1) / to * to; }

std::size_t limit_from_environment() {
  const char* mebibytes = std::getenv("GRADUS_EMULATOR_MEMORY");
  return std::strtoull(mebibytes ? mebibytes : "4096", nullptr, 10) << 20;
}

struct sigaction previous_handler;

/// Says whose access failed, and leaves the rest to the handler before this one.
void report_access(int signal, siginfo_t* info, void*) {
  static bool reported = false;
  struct sigaction by_default {};
  by_default.sa_handler = SIG_DFL;
  if (!reported && info->si_code > 0) {  // si_code: not sent by kill() or raise()
    const std::string place = running_place();
    const DeviceMemory& memory = DeviceMemory::instance();
    std::string message;
    if (!place.empty()) {
      message = fmt::format("[emulator] {}: no memory at {}\n", place, info->si_addr);
    } else if (memory.owns(info->si_addr)) {
      message = fmt::format(
          "[emulator] host code accessed device memory at {} (allocation of {} bytes)\n",
          info->si_addr, memory.find(info->si_addr).size);
    }
    [[maybe_unused]] const auto written = write(STDERR_FILENO, message.data(), message.size());
  }
  sigaction(signal, reported ? &by_default : &previous_handler, nullptr);
  reported = true;  // on return the access fails again, for the previous handler
}

/// Test frameworks come and go with handlers of their own, so this is looked after at each use.
void keep_handler() {
  struct sigaction current {};
  sigaction(SIGSEGV, nullptr, &current);
  if (current.sa_sigaction == report_access) return;
  previous_handler = current;
  struct sigaction ours {};
  ours.sa_sigaction = report_access;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &ours, nullptr);
}

}  // namespace

DeviceMemory& DeviceMemory::instance() {
  static auto* memory = new DeviceMemory;  // never destroyed: tensors in static storage outlive it
  return *memory;
}

DeviceMemory::DeviceMemory() : limit_(limit_from_environment()) {
  void* range =
      mmap(nullptr, reserved_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  check(range != MAP_FAILED, "emulator", "{} GiB of addresses cannot be reserved",
        reserved_bytes >> 30);
  base_ = round_up(reinterpret_cast<std::uintptr_t>(range), page_bytes);
  end_ = base_;
  madvise(range, reserved_bytes, MADV_HUGEPAGE);
}

void DeviceMemory::set_access(bool on) {
  if (on) keep_handler();
  if (end_ == base_) return;
  const int status = mprotect(reinterpret_cast<void*>(base_), round_up(end_ - base_, page_bytes),
                              on ? PROT_READ | PROT_WRITE : PROT_NONE);
  check(status == 0, "emulator", "access rights cannot be changed");
}

void* DeviceMemory::allocate(std::size_t bytes) {
  const DeviceAccess access;
  if (bytes > limit_ - std::min(taken(), limit_)) return nullptr;
  // The first gap that holds it: each allocation is followed by at least `alignment` bytes of its
  // own that stay unwritten, and so is the beginning.
  const std::size_t extent = round_up(bytes, alignment) + alignment;
  std::uintptr_t begin = base_ + alignment;
  for (const auto& [other, size] : live_) {
    if (begin + extent <= other) break;
    begin = other + round_up(size, alignment) + alignment;
  }
  if (begin + extent > base_ + reserved_bytes - page_bytes) return nullptr;
  if (begin + extent > end_) {
    end_ = begin + extent;
    set_access(true);
  }
  ASAN_UNPOISON_MEMORY_REGION(reinterpret_cast<void*>(begin - alignment), extent + alignment);
  const auto mark = [](std::uintptr_t at, std::size_t count) {
    std::memset(reinterpret_cast<void*>(at), unwritten, count);
  };
  mark(begin - alignment, alignment);
  mark(begin + bytes, extent - bytes);
  if (poison_) mark(begin, bytes);
  ASAN_POISON_MEMORY_REGION(reinterpret_cast<void*>(begin - alignment), alignment);
  ASAN_POISON_MEMORY_REGION(reinterpret_cast<void*>(begin + bytes), extent - bytes);
  live_.emplace(begin, bytes);
  used_ += bytes;
  return reinterpret_cast<void*>(begin);
}

bool DeviceMemory::free(void* memory) {
  const DeviceAccess access;
  const auto found = live_.find(reinterpret_cast<std::uintptr_t>(memory));
  if (found == live_.end()) return false;
  const Allocation allocation{found->first, found->second};
  used_ -= allocation.size;
  live_.erase(found);
  // While an exception frees what it leaves, another one would end the program.
  if (std::uncaught_exceptions() == 0) check_surroundings(allocation);
  if (poison_) std::memset(memory, unwritten, allocation.size);
  ASAN_POISON_MEMORY_REGION(memory, allocation.size);
  return true;
}

void* DeviceMemory::allocate_from_pool(std::size_t bytes) {
  const DeviceAccess access;
  const std::size_t kept = std::min(cached_, bytes);
  cached_ -= kept;
  void* memory = allocate(bytes);
  if (memory) {
    pool_used_ += bytes;
  } else {
    cached_ += kept;
  }
  return memory;
}

bool DeviceMemory::free_to_pool(void* memory) {
  const DeviceAccess access;
  const std::size_t bytes = find(memory).size;
  if (!free(memory)) return false;
  pool_used_ -= bytes;
  cached_ += bytes;
  return true;
}

Allocation DeviceMemory::find(const void* address) const {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  auto next = live_.upper_bound(at);
  if (next == live_.begin()) return {};
  const auto& [begin, size] = *std::prev(next);
  return at <= begin + size ? Allocation{begin, size} : Allocation{};
}

void set_poison(bool on) { DeviceMemory::instance().set_poison(on); }

void DeviceMemory::require(const void* address, std::size_t bytes, const char* what) const {
  if (bytes == 0) return;
  const Allocation allocation = find(address);
  if (allocation.size == 0) {
    fault(fmt::format("{}: {} is not in allocated device memory", what, address));
  }
  const std::size_t offset = reinterpret_cast<std::uintptr_t>(address) - allocation.begin;
  if (bytes > allocation.size - offset) {
    fault(fmt::format("{}: {} bytes at byte {} of an allocation of {} bytes", what, bytes, offset,
                      allocation.size));
  }
}

void DeviceMemory::check_surroundings(const Allocation& allocation) const {
#if !defined(__SANITIZE_ADDRESS__)  // which reports the access itself
  auto* data = static_cast<unsigned char*>(allocation.data());
  const auto check_range = [&](unsigned char* begin, unsigned char* end, const char* where) {
    const auto written = [](unsigned char byte) { return byte != unwritten; };
    if (std::none_of(begin, end, written)) return;
    std::fill(begin, end, unwritten);  // reported once
    fault(fmt::format("memory right {} an allocation of {} bytes was written", where,
                      allocation.size));
  };
  check_range(data - alignment, data, "before");
  check_range(data + allocation.size, data + round_up(allocation.size, alignment) + alignment,
              "behind");
#else
  (void)allocation;
#endif
}

DeviceAccess::DeviceAccess() {
  DeviceMemory& memory = DeviceMemory::instance();
  std::unique_lock lock(memory.mutex_);
  if (memory.users_ == 0) memory.set_access(true);  // which may throw
  ++memory.users_;
  lock.release();
}

DeviceAccess::~DeviceAccess() {
  DeviceMemory& memory = DeviceMemory::instance();
  if (--memory.users_ == 0) memory.set_access(false);
  memory.mutex_.unlock();
}

bool is_mapped(const void* address) {
  static const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto at = reinterpret_cast<std::uintptr_t>(address);
#if defined(__SANITIZE_ADDRESS__)
  // All below is AddressSanitizer's own, so that any two small numbers in a struct would lie in it.
  if (at < 0x100080000000) return false;
#endif
  unsigned char resident = 0;
  return mincore(reinterpret_cast<void*>(at / page * page), 1, &resident) == 0;
}

}  // namespace gradus::cuda::emulator
