// Loops over all cores whose results do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <mutex>
#include <utility>

#include "tensor/backend/arithmetic.h"

namespace gradus::cpu {

/// Elements of an elementwise kernel that one thread takes at a time: 32 Ki floats are 128 KiB.
inline constexpr std::int64_t elementwise_grain = std::int64_t{1} << 15;

/// Carries an exception out of a parallel region, which none may leave by itself: make one before
/// the region, wrap the work of each thread in `guard`, and call `rethrow` after it.
class FirstException {
 public:
  /// Calls work() and keeps what it throws, if nothing was kept yet; from any thread.
  template <class Work>
  void guard(Work&& work) noexcept {
    try {
      work();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!exception_) exception_ = std::current_exception();
    }
  }
  /// Throws what was kept, if anything.
  void rethrow() {
    if (exception_) std::rethrow_exception(std::exchange(exception_, nullptr));
  }

 private:
  std::mutex mutex_;
  std::exception_ptr exception_;
};

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

/// How many rows are worth a thread, if each costs as much as that many elements of an elementwise
/// kernel.
constexpr std::int64_t rows_per_block(std::int64_t cost) {
  return std::max<std::int64_t>(1, elementwise_grain / std::max<std::int64_t>(1, cost));
}

/// Calls function(row) for each of `rows` rows, in parallel, in blocks of rows_per_block(cost).
template <class Function>
void parallel_rows(std::int64_t rows, std::int64_t cost, const Function& function) {
  parallel_blocks(rows, rows_per_block(cost), [&](auto begin, auto end) {
    for (std::int64_t row = begin; row < end; ++row) function(row);
  });
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
