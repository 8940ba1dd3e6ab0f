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

/// What Linux calls available, in bytes.
std::uint64_t memory_at_hand() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  for (std::uint64_t kib = 0; file >> name >> kib; file.ignore(256, '\n'))
    if (name == "MemAvailable:") return kib * 1024;
  return unlimited;
}

/// The number in a file; `unlimited` where it has none ("max"), or there is no such file.
std::uint64_t limit_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::uint64_t bytes = 0;
  return file >> bytes ? bytes : unlimited;
}

std::uint64_t resident_memory() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t all = 0, resident = 0;
  file >> all >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

/// Calls visit(folder, whether it is of version 2) for the control groups around this process that
/// may limit what `controller` counts.
template <class Visit>
void for_each_control_group(const std::filesystem::path& root, const std::string& controller,
                            const Visit& visit) {
  // A line is number:controllers:group; version 2 has no controllers there.
  std::ifstream groups(root / "proc/self/cgroup");
  std::string number, controllers, group;
  while (std::getline(groups, number, ':') && std::getline(groups, controllers, ':') &&
         std::getline(groups, group)) {
    const bool version_2 = controllers.empty();
    if (!version_2 && ("," + controllers + ",").find("," + controller + ",") == std::string::npos)
      continue;
    const std::filesystem::path top =
        root / (version_2 ? "sys/fs/cgroup" : "sys/fs/cgroup/" + controllers);
    std::filesystem::path inside = std::filesystem::path(group).relative_path();
    for (; !inside.empty(); inside = inside.parent_path()) visit(top / inside, version_2);
    visit(top, version_2);
  }
}

}  // namespace

std::uint64_t available_memory(Device device) {
  if (device == Device::cuda) return cuda::free_memory() + memory_stats(device).reserved;
  const std::uint64_t available = memory_at_hand();
  return std::min(available == unlimited ? available : available + resident_memory(),
                  control_group_limit());
}

std::uint64_t control_group_limit(const std::filesystem::path& root) {
  std::uint64_t least = unlimited;
  for_each_control_group(root, "memory", [&](const std::filesystem::path& group, bool version_2) {
    least = std::min(least, limit_in(group / (version_2 ? "memory.max" : "memory.limit_in_bytes")));
  });
  return least;
}

int granted_processors(const std::filesystem::path& root) {
  int least = std::numeric_limits<int>::max();
  for_each_control_group(root, "cpu", [&](const std::filesystem::path& group, bool version_2) {
    std::ifstream quota_file(group / (version_2 ? "cpu.max" : "cpu.cfs_quota_us"));
    std::ifstream period_file(group / "cpu.cfs_period_us");
    std::int64_t quota = 0, period = 0;  // microseconds; "max" and -1 are no quota
    if (!(quota_file >> quota) || quota <= 0) return;
    if (!((version_2 ? quota_file : period_file) >> period) || period <= 0) return;
    least = static_cast<int>(std::min<std::int64_t>(least, (quota + period - 1) / period));
  });
  return least;
}

std::uint64_t peak_resident_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;  // Linux counts KiB
}

}  // namespace gradus
