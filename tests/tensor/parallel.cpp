// Loops over all cores.
#include "tensor/cpu/parallel.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include <gradus/tensor/check.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"

using namespace gradus;
using namespace gradus::test;

TEST_SUITE_BEGIN("parallel" * cpu_only());

TEST_CASE("the blocks of a loop are the same for any number of threads") {
  using Blocks = std::vector<std::pair<std::int64_t, std::int64_t>>;
  const auto blocks_of = [](std::int64_t n, int threads) {
    return with_threads(threads, [&] {
      Blocks blocks;
      std::mutex mutex;
      cpu::parallel_blocks(n, 4, [&](std::int64_t begin, std::int64_t end) {
        const std::lock_guard lock(mutex);
        blocks.emplace_back(begin, end);
      });
      std::sort(blocks.begin(), blocks.end());
      return blocks;
    });
  };
  for (const int threads : {1, 2, 3}) {
    CHECK(blocks_of(0, threads).empty());
    CHECK(blocks_of(4, threads) == Blocks{{0, 4}});
    CHECK(blocks_of(10, threads) == Blocks{{0, 4}, {4, 8}, {8, 10}});
  }
}

TEST_CASE("what a block throws comes out of the loop") {
  for (const int threads : {1, 3}) {
    const auto run = [] {
      cpu::parallel_blocks(100, 1, [](std::int64_t begin, std::int64_t) {
        if (begin == 57) fail("block", "{} fails", begin);
      });
      return 0;
    };
    const int before = omp_get_max_threads();
    CHECK_ERROR(with_threads(threads, run), "[block] 57 fails");
    omp_set_num_threads(before);
  }
}

TEST_SUITE_END();
