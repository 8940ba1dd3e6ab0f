// The emulated GPU's named barriers: groups of a block's threads that wait for each other.
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <utility>
#include <vector>

#include "tensor/cuda/shared_array.h"
#include "tensor/cuda/warpgroup.h"
#include "tests/cuda/device_array.h"
#include "tests/cuda/faulty.h"

using namespace gradus;
using namespace gradus::cuda;

namespace {

constexpr int groups = 3, group_threads = 128;

/// Groups of 128 threads write their numbers to `order` in turns, `rounds` times.
__global__ void take_turns_kernel(int* order, int rounds) {
  __shared__ SharedArray<int, 1> next;
  const int group = warpgroup_index(), thread = static_cast<int>(threadIdx.x) % group_threads;
  if (threadIdx.x == 0) next[0] = 0;
  __syncthreads();
  if (group == groups - 1) pass_barrier(1, 2 * group_threads);
  for (int round = 0; round < rounds; ++round) {
    wait_at_barrier(1 + group, 2 * group_threads);
    if (thread == 0) {
      const int at = next[0];
      order[at] = group;
      next[0] = at + 1;
    }
    const bool last = round + 1 == rounds && group == groups - 1;
    if (!last) pass_barrier(1 + (group + 1) % groups, 2 * group_threads);
  }
}

/// A barrier of 96 threads of which 64 come.
__global__ void too_few_kernel() {
  if (threadIdx.x < 64) wait_at_barrier(1, 96);
}

__global__ void no_such_barrier_kernel(int number, int threads) {
  wait_at_barrier(number, threads);
}

}  // namespace

TEST_CASE("emulator: groups of threads take turns by named barriers") {
  for (const int rounds : {1, 2, 7}) {
    CAPTURE(rounds);
    const DeviceArray<int> order(std::vector<int>(static_cast<std::size_t>(rounds * groups), -1));
    run(take_turns_kernel, groups * group_threads, order.data(), rounds);
    std::vector<int> expected(static_cast<std::size_t>(rounds * groups));
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = static_cast<int>(i) % groups;
    CHECK(order.values() == expected);
  }
}

TEST_CASE("emulator faults: named barriers to which too few threads come, or that are not there") {
  check_fault([] { run(too_few_kernel, 96); },
              {"divergence", "64 of 96 threads", "emulator_barriers.cpp:"});
  for (const auto& [number, threads] :
       std::vector<std::pair<int, int>>{{0, 64}, {16, 64}, {1, 40}, {1, 128}}) {
    check_fault(
        [number = number, threads = threads] { run(no_such_barrier_kernel, 64, number, threads); },
        {"there is no named barrier", "emulator_barriers.cpp:"});
  }
}
