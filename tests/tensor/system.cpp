// What the machine is said to have, in the right units.
#include <gradus/tensor/system.h>

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdint>

#include <gradus/tensor/tensor.h>
#include "tests/support/device.h"

using namespace gradus;

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
