// What the machine is said to have, in the right units.
#include <gradus/tensor/system.h>

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>

#include <gradus/tensor/tensor.h>
#include "tests/support/device.h"
#include "tests/support/temp_folder.h"

using namespace gradus;

namespace {

/// A folder that stands for /, whose files a test makes.
struct Root : test::TempFolder {
  void write(const std::filesystem::path& file, const std::string& text) const {
    std::filesystem::create_directories((path() / file).parent_path());
    test::write_text(path() / file, text);
  }
};

}  // namespace

TEST_CASE("memory: what the process has had, what it may have, and what the machine has" *
          test::cpu_only()) {
  const Tensor touched = full({std::int64_t{64} << 20}, 1, {DType::uint8});
  const std::uint64_t peak = peak_resident_memory(), available = available_memory(Device::cpu);
  const auto machine = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                       static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  CHECK(peak >= touched.bytes());
  CHECK(peak <= machine);
  CHECK(available >= touched.bytes());
  CHECK(available <= machine + peak);  // shared pages are counted twice
}

TEST_CASE("processors: the least that the control groups around the process grant" *
          test::cpu_only()) {
  constexpr int all = std::numeric_limits<int>::max();
  const Root root;
  CHECK(granted_processors(root.path()) == all);
  root.write("proc/self/cgroup", "3:cpuset:/d\n1:cpu,cpuacct:/d\n0::/job/step\n");
  root.write("sys/fs/cgroup/job/step/cpu.max", "max 100000\n");
  root.write("sys/fs/cgroup/cpu,cpuacct/d/cpu.cfs_quota_us", "-1\n");
  root.write("sys/fs/cgroup/cpu,cpuacct/d/cpu.cfs_period_us", "100000\n");
  root.write("sys/fs/cgroup/cpuset/d/cpu.cfs_quota_us", "1\n");
  CHECK(granted_processors(root.path()) == all);
  root.write("sys/fs/cgroup/job/cpu.max", "350000 100000\n");
  CHECK(granted_processors(root.path()) == 4);
  root.write("sys/fs/cgroup/cpu,cpuacct/d/cpu.cfs_quota_us", "150000\n");
  CHECK(granted_processors(root.path()) == 2);
  root.write("sys/fs/cgroup/job/step/cpu.max", "1000 100000\n");
  CHECK(granted_processors(root.path()) == 1);
}

TEST_CASE("memory: the least limit of the control groups around the process" * test::cpu_only()) {
  constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();
  const Root root;
  CHECK(control_group_limit(root.path()) == unlimited);
  root.write("proc/self/cgroup",
             "3:name=systemd:/elsewhere\n2:memory:/a:b/c\n1:cpu:/d\n0::/job/step\n");
  CHECK(control_group_limit(root.path()) == unlimited);
  root.write("sys/fs/cgroup/job/step/memory.max", "max\n");
  CHECK(control_group_limit(root.path()) == unlimited);
  root.write("sys/fs/cgroup/job/memory.max", "7000000000\n");
  CHECK(control_group_limit(root.path()) == 7'000'000'000);
  root.write("sys/fs/cgroup/memory/a:b/memory.limit_in_bytes", "6000000000\n");
  CHECK(control_group_limit(root.path()) == 6'000'000'000);
  root.write("sys/fs/cgroup/memory.max", "5000000000\n");
  CHECK(control_group_limit(root.path()) == 5'000'000'000);
  for (const char* other :
       {"sys/fs/cgroup/elsewhere/memory.max", "sys/fs/cgroup/memory/d/memory.limit_in_bytes"})
    root.write(other, "1\n");
  CHECK(control_group_limit(root.path()) == 5'000'000'000);
}
