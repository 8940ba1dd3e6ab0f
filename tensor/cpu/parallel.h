// Loops over all cores whose results do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tensor/backend/arithmetic.h"
#include "tensor/cpu/first_exception.h"

namespace gradus::cpu {

/// Elements of an elementwise kernel that one thread takes at a time: 32 Ki floats are 128 KiB.
inline constexpr std::int64_t elementwise_grain = std::int64_t{1} << 15;

/// Calls function(begin, end) for consecutive blocks of `grain` indices below `n`, in parallel.
/// The blocks are the same for any number of threads, so a partial result per block, combined in
/// block order, is too. What `function` throws, comes out when all threads are done.
template <class Function>
void parallel_blocks(std::int64_t n, std::int64_t grain, const Function& function) {
  const std::int64_t blocks = divide_up(n, grain);
  if (blocks <= 1) {
    if (n > 0) function(std::int64_t{0}, n);
    return;
  }
  FirstException exception;
#pragma omp parallel for schedule(static)
  for (std::int64_t block = 0; block < blocks; ++block)
    exception.guard([&] { function(block * grain, std::min(n, (block + 1) * grain)); });
  exception.rethrow();
}

/// Calls function(i) for each i below `n`, in parallel, each for the thread that is free next. What
/// `function` throws, comes out when all threads are done.
template <class Function>
void parallel_tasks(std::int64_t n, const Function& function) {
  FirstException exception;
#pragma omp parallel for schedule(dynamic) if (n > 1)
  for (std::int64_t i = 0; i < n; ++i) exception.guard([&] { function(i); });
  exception.rethrow();
}

}  // namespace gradus::cpu
