// The time that a program spends in OpenMP's parallel regions; the rest of its time is serial.
// For a program of one source file that includes this: it puts a function of its own before that
// of GCC's OpenMP library which runs a region.
#pragma once

#include <dlfcn.h>
#include <omp.h>

#include <chrono>
#include <optional>

namespace gradus::bench {
namespace parallel_time {

inline double seconds = 0;
inline bool known = false;  // a region was seen: other compilers may call another function
inline thread_local bool within = false;  // a region that this thread opened

}  // namespace parallel_time

/// Seconds that all parallel regions so far took, from their start until their last thread was
/// done; none if the compiler does not start them by GOMP_parallel.
inline std::optional<double> parallel_seconds() {
  if (!parallel_time::known) return {};
  return parallel_time::seconds;
}

}  // namespace gradus::bench

extern "C" {
void GOMP_parallel(void (*region)(void*), void* data, unsigned threads, unsigned flags);

void GOMP_parallel(void (*region)(void*), void* data, unsigned threads, unsigned flags) {
  using namespace gradus::bench;
  using Clock = std::chrono::steady_clock;
  static const auto run = reinterpret_cast<decltype(&GOMP_parallel)>(dlsym(RTLD_NEXT, __func__));
  if (parallel_time::within || omp_in_parallel() != 0) return run(region, data, threads, flags);
  const auto begin = Clock::now();
  parallel_time::within = true;
  run(region, data, threads, flags);
  parallel_time::within = false;
  parallel_time::seconds += std::chrono::duration<double>(Clock::now() - begin).count();
  parallel_time::known = true;
}
}
