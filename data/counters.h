// How the data pipeline shares the Philox counter: four 32-bit words
//   (block, sample, domain + index, epoch)
// under the run's seed as the key. The domain keeps the uses apart from each other and from
// Generator's streams 0, 1, 2, ..., which start with (position, stream) = (0, 0).
#pragma once

#include <cstdint>

#include <gradus/tensor/philox.h>

namespace gradus::data {

/// Upper half of the counter's third word.
enum class Domain : std::uint32_t {
  augment = 0x4155'0000,    ///< lower half: the view
  shuffle = 0x5348'0000,    ///< the Generator's stream is (epoch << 32) + domain
  synthetic = 0x5359'0000,  ///< lower half: the split
};

/// The counter's high half: domain and index in its lower word, the epoch in its upper word.
constexpr std::uint64_t counter_high(Domain domain, std::uint32_t index, std::uint64_t epoch) {
  return (epoch << 32) | (static_cast<std::uint32_t>(domain) + index);
}

/// Block `block` of the numbers of one sample.
inline PhiloxBlock draw(std::uint64_t seed, std::uint32_t block, std::uint64_t sample,
                        std::uint64_t high) {
  return philox(seed, (sample << 32) | block, high);
}

/// A float in [low, high]; high only by rounding.
inline float uniform_between(std::uint32_t word, float low, float high) {
  return low + (high - low) * uniform_float(word);
}

/// An integer in [0, bound), by the multiply-high method.
inline std::uint32_t uniform_below(std::uint32_t word, std::uint32_t bound) {
  return static_cast<std::uint32_t>((std::uint64_t{word} * bound) >> 32);
}

}  // namespace gradus::data
