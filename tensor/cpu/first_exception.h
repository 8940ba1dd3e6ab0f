// Exceptions inside parallel regions.
#pragma once

#include <exception>
#include <mutex>
#include <utility>

namespace gradus::cpu {

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

}  // namespace gradus::cpu
