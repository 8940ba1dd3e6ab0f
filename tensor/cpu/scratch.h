// Temporary memory of kernels, from the allocator that keeps what it is given back.
#pragma once

#include <omp.h>

#include <cstdint>

#include <gradus/tensor/storage.h>
#include "tensor/backend/range.h"

namespace gradus::cpu {

/// `count` elements, not initialised.
template <class T>
class Scratch {
 public:
  explicit Scratch(std::int64_t count)
      : storage_(static_cast<std::size_t>(count) * sizeof(T), Device::cpu) {}

  T* data() const { return static_cast<T*>(storage_.data()); }

 private:
  Storage storage_;
};

/// A distance between rows of at least `words` words of 32 bits: an odd number of cache lines,
/// since rows at powers of two would compete for the same places in a cache.
constexpr std::int64_t spread(std::int64_t words) {
  constexpr std::int64_t line = 16;
  return (divide_up(words, line) | 1) * line;
}

/// `count` elements for each thread of a parallel region.
template <class T>
class ThreadScratch {
 public:
  explicit ThreadScratch(std::int64_t count, int threads = omp_get_max_threads())
      : threads_(threads),
        stride_(spread(divide_up(count * size, word)) * word / size),
        memory_(threads * stride_) {}

  /// How many threads have a part.
  int threads() const { return threads_; }

  /// The calling thread's part.
  T* get() const { return memory_.data() + omp_get_thread_num() * stride_; }

 private:
  static constexpr std::int64_t size = sizeof(T), word = 4;  // bytes
  int threads_;
  std::int64_t stride_;
  Scratch<T> memory_;
};

}  // namespace gradus::cpu
