#include <gradus/tensor/system.h>

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include <gradus/tensor/storage.h>
#include "tensor/backend/runtime.h"

namespace gradus {
namespace {

constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

/// The number that follows `key` in /proc/meminfo, in bytes.
std::uint64_t memory_info(const std::string& key) {
  std::ifstream file("/proc/meminfo");
  std::string name;
  for (std::uint64_t kib = 0; file >> name >> kib; file.ignore(256, '\n'))
    if (name == key + ":") return kib * 1024;
  return unlimited;
}

std::uint64_t group_limit() {
  std::ifstream file("/sys/fs/cgroup/memory.max");
  std::uint64_t bytes = 0;
  return file >> bytes ? bytes : unlimited;  // "max", or no such group
}

std::uint64_t resident_memory() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t all = 0, resident = 0;
  file >> all >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

std::uint64_t available_memory(Device device) {
  if (device == Device::cuda) return cuda::free_memory() + memory_stats(device).reserved;
  const std::uint64_t available = memory_info("MemAvailable");
  return std::min(available == unlimited ? available : available + resident_memory(),
                  group_limit());
}

std::uint64_t peak_resident_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;  // Linux counts KiB
}

}  // namespace gradus
