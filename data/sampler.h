// In which order an epoch visits the samples, and how they fall into batches.
#pragma once

#include <algorithm>
#include <cstdint>

#include <gradus/data/counters.h>
#include <gradus/tensor/random.h>

namespace gradus::data {

/// The order in which epoch `epoch` visits samples 0 .. count-1, int64 [count]: the files' order,
/// or the permutation drawn from Generator(seed, (epoch << 32) + Domain::shuffle).
inline Tensor epoch_order(std::int64_t count, bool shuffle, std::uint64_t seed,
                          std::int64_t epoch) {
  if (!shuffle) return arange(0, count);
  Generator generator(seed, counter_high(Domain::shuffle, 0, static_cast<std::uint64_t>(epoch)));
  return permutation(count, generator);
}

/// Batches of `batch_size` >= 1 in an epoch; with `drop_last` a partial one at the end is left out.
constexpr std::int64_t batch_count(std::int64_t samples, std::int64_t batch_size, bool drop_last) {
  const bool partial = !drop_last && samples % batch_size != 0;
  return samples / batch_size + (partial ? 1 : 0);
}

}  // namespace gradus::data
