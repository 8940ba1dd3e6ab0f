// A launch: the device's limits, the kernel's pointers, and the runs in several orders.
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>

#include <gradus/tensor/check.h>
#include "tensor/cuda/emulator/memory.h"
#include "tensor/cuda/emulator/scheduler.h"
#include "tensor/cuda/emulator/stream.h"

namespace gradus::cuda::emulator {
namespace {

/// Memory that a kernel can reach, and by which argument.
struct Reached {
  Allocation allocation;
  int argument;
};
using ReachedMemory = std::map<std::uintptr_t, Reached>;

/// Above this, the runs in other orders are left out: each copies what the kernel may write.
constexpr std::size_t most_compared_bytes = std::size_t{64} << 20;

bool order_check_on = [] {
  const char* value = std::getenv("GRADUS_EMULATOR_ORDERS");
  return !value || std::string_view(value) != "0";
}();

thread_local std::string refusal_reason;

template <class... Args>
cudaError_t refuse(cudaError_t status, fmt::format_string<Args...> reason, Args&&... args) {
  refusal_reason = fmt::format(reason, std::forward<Args>(args)...);
  return set_last_error(status);
}

std::map<const void*, std::size_t>& dynamic_shared_limits() {
  static auto* limits = new std::map<const void*, std::size_t>;
  return *limits;
}

cudaError_t check_limits(Launch& launch) {
  const dim3 grid = launch.grid, block = launch.block;
  constexpr auto bad = cudaErrorInvalidConfiguration;
  const auto size = [](dim3 d) { return fmt::format("{} x {} x {}", d.x, d.y, d.z); };
  if (!grid.x || !grid.y || !grid.z) return refuse(bad, "an empty grid, {}", size(grid));
  if (!block.x || !block.y || !block.z) return refuse(bad, "an empty block, {}", size(block));
  if (grid.x > 0x7FFFFFFFu || grid.y > 65535 || grid.z > 65535) {
    return refuse(bad, "a grid of {} blocks; at most 2147483647 x 65535 x 65535", size(grid));
  }
  if (block.x > 1024 || block.y > 1024 || block.z > 64) {
    return refuse(bad, "a block of {} threads; at most 1024 x 1024 x 64", size(block));
  }
  if (std::uint64_t{block.x} * block.y * block.z > max_threads) {
    return refuse(bad, "a block of {} threads; at most 1024 in all", size(block));
  }
  const auto limit = dynamic_shared_limits().find(launch.kernel);
  const bool raised = limit != dynamic_shared_limits().end();
  const std::size_t dynamic_limit = raised ? limit->second : default_shared_bytes;
  if (launch.shared_bytes > dynamic_limit) {
    return refuse(cudaErrorInvalidValue, "{} bytes of dynamic shared memory; at most {}{}",
                  launch.shared_bytes, dynamic_limit,
                  raised ? "" : " without cudaFuncSetAttribute");
  }
  launch.shared_limit = raised ? most_shared_bytes : default_shared_bytes;
  return cudaSuccess;
}

/// Faults if an argument points to memory that no kernel may use.
void check_words(const Launch& launch) {
  const DeviceMemory& memory = DeviceMemory::instance();
  for (const ArgumentWord& word : launch.words) {
    const auto place = [&] {
      return fmt::format("{}argument number {}", word.is_pointer ? "" : "a pointer in ",
                         word.argument);
    };
    if (memory.owns(word.value)) {
      if (memory.find(word.value).size == 0) {
        fault(
            fmt::format("{} points to device memory that is not allocated, or was freed", place()));
      }
      continue;
    }
    // Numbers below 2^32 are no addresses of a 64-bit process.
    const bool may_be_pointer = reinterpret_cast<std::uintptr_t>(word.value) >> 32 != 0;
    if (word.is_pointer ? word.value != nullptr : may_be_pointer && is_mapped(word.value)) {
      fault(fmt::format("{} points to host memory", place()));
    }
  }
}

/// The allocations that the arguments point to, but for those to constant numbers.
ReachedMemory find_writable(const Launch& launch) {
  const DeviceMemory& memory = DeviceMemory::instance();
  ReachedMemory reached;
  for (const ArgumentWord& word : launch.words) {
    if (word.is_read_only || !memory.owns(word.value)) continue;
    const Allocation allocation = memory.find(word.value);
    reached.try_emplace(allocation.begin, Reached{allocation, word.argument});
  }
  return reached;
}

/// Adds the allocations whose addresses lie in reached memory, as a conservative garbage collector
/// finds them: a kernel may be given a table of pointers.
void follow_pointers(ReachedMemory& reached) {
  const DeviceMemory& memory = DeviceMemory::instance();
  std::vector<Reached> unscanned;
  for (const auto& [begin, found] : reached) unscanned.push_back(found);
  while (!unscanned.empty()) {
    const auto [scanned, argument] = unscanned.back();
    unscanned.pop_back();
    const auto* words = static_cast<const void* const*>(scanned.data());
    for (std::size_t i = 0; i < scanned.size / sizeof(void*); ++i) {
      if (!memory.owns(words[i])) continue;
      const Allocation allocation = memory.find(words[i]);
      const bool fresh =
          allocation.size > 0 &&
          reached.try_emplace(allocation.begin, Reached{allocation, argument}).second;
      if (fresh) unscanned.push_back({allocation, argument});
    }
  }
}

std::size_t total_bytes(const ReachedMemory& reached) {
  std::size_t bytes = 0;
  for (const auto& [begin, memory] : reached) bytes += memory.allocation.size;
  return bytes;
}

/// The contents of all reached memory, one after the other.
void save(const ReachedMemory& reached, std::vector<unsigned char>& saved) {
  saved.resize(total_bytes(reached));
  unsigned char* to = saved.data();
  for (const auto& [begin, memory] : reached) {
    std::memcpy(to, memory.allocation.data(), memory.allocation.size);
    to += memory.allocation.size;
  }
}

void restore(const ReachedMemory& reached, const std::vector<unsigned char>& saved) {
  const unsigned char* from = saved.data();
  for (const auto& [begin, memory] : reached) {
    std::memcpy(memory.allocation.data(), from, memory.allocation.size);
    from += memory.allocation.size;
  }
}

void compare(const ReachedMemory& reached, const std::vector<unsigned char>& expected) {
  const unsigned char* at = expected.data();
  for (const auto& [begin, memory] : reached) {
    const std::size_t size = memory.allocation.size;
    if (std::memcmp(memory.allocation.data(), at, size) != 0) {
      const auto* data = static_cast<const unsigned char*>(memory.allocation.data());
      const auto byte = std::mismatch(data, data + size, at).first - data;
      fault(
          fmt::format("the result depends on the order of threads: byte {} of the {} bytes "
                      "that argument number {} points to; is a barrier missing?",
                      byte, size, memory.argument));
    }
    at += size;
  }
}

/// Runs the kernel; faults if it wrote beside what it can reach.
void run(Order order, const ReachedMemory& reached) {
  run_grid(order);
  for (const auto& [begin, memory] : reached) {
    DeviceMemory::instance().check_surroundings(memory.allocation);
  }
}

/// Runs the kernel in all three orders, each from the same memory.
void run_in_all_orders(const ReachedMemory& reached) {
  static std::vector<unsigned char> before, after;  // kept: large vectors are slow to make
  save(reached, before);
  run(Order::forward, reached);
  save(reached, after);
  for (const Order order : {Order::reverse, Order::random}) {
    restore(reached, before);
    run(order, reached);
    compare(reached, after);
  }
}

cudaError_t execute(const Launch& launch) {
  const DeviceAccess access;
  const RunningLaunch running(launch);
  check_words(launch);
  ReachedMemory reached = find_writable(launch);
  bool compared = order_check_on && total_bytes(reached) <= most_compared_bytes;
  if (compared) {
    follow_pointers(reached);
    compared = total_bytes(reached) <= most_compared_bytes;
  }
  if (compared) {
    run_in_all_orders(reached);
  } else {
    run(Order::forward, reached);
  }
  return cudaSuccess;
}

}  // namespace

cudaError_t submit(Launch launch, cudaStream_t stream) {
  if (const cudaError_t status = check_limits(launch); status != cudaSuccess) return status;
  return enqueue(stream, [launch = std::move(launch)] { return execute(launch); });
}

const std::string& refusal() { return refusal_reason; }

void set_order_check(bool on) { order_check_on = on; }
bool order_check() { return order_check_on; }

cudaError_t set_dynamic_shared_limit(const void* kernel, int bytes) {
  if (bytes < 0 || static_cast<std::size_t>(bytes) > most_shared_bytes) {
    return refuse(cudaErrorInvalidValue, "{} bytes of dynamic shared memory; at most {}", bytes,
                  most_shared_bytes);
  }
  dynamic_shared_limits()[kernel] = static_cast<std::size_t>(bytes);
  return cudaSuccess;
}

}  // namespace gradus::cuda::emulator
