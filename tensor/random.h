// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). A number is a pure function of (key, counter), so the CPU and the GPU, and
// any number of threads, draw the same ones.
#pragma once

#include <array>
#include <cstdint>

#include "tensor/tensor.h"

#if defined(__CUDACC__)
#define GRADUS_HOST_DEVICE __host__ __device__
#else
#define GRADUS_HOST_DEVICE
#endif

namespace gradus {

/// Four random 32-bit words.
struct PhiloxBlock {
  std::uint32_t word[4];
};

/// Philox4x32 with 10 rounds: 128-bit counter (low word first), 64-bit key.
GRADUS_HOST_DEVICE inline PhiloxBlock philox(std::uint64_t key, std::uint64_t counter_low,
                                             std::uint64_t counter_high) {
  std::uint32_t c0 = static_cast<std::uint32_t>(counter_low);
  std::uint32_t c1 = static_cast<std::uint32_t>(counter_low >> 32);
  std::uint32_t c2 = static_cast<std::uint32_t>(counter_high);
  std::uint32_t c3 = static_cast<std::uint32_t>(counter_high >> 32);
  std::uint32_t k0 = static_cast<std::uint32_t>(key);
  std::uint32_t k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53u} * c0;
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<std::uint32_t>(product1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<std::uint32_t>(product1);
    c2 = static_cast<std::uint32_t>(product0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<std::uint32_t>(product0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

/// A float in [0, 1) from the upper 24 bits of a word.
GRADUS_HOST_DEVICE inline float uniform_float(std::uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}

/// A double in [0, 1) from the upper 53 bits of two words.
GRADUS_HOST_DEVICE inline double uniform_double(std::uint32_t low, std::uint32_t high) {
  const std::uint64_t bits = (std::uint64_t{high} << 32) | low;
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

/// A stream of random tensors: a seed (the Philox key), a stream number (the counter's high half)
/// and a position (its low half).
///
/// Element i of a drawn tensor comes from block `position + i / 2`, whatever the element type:
/// words 0 and 1 for even i, words 2 and 3 for odd i, made into a double in [0, 1). A draw of n
/// elements moves the position by ceil(n / 2). Float tensors hold the same numbers, rounded.
class Generator {
 public:
  explicit Generator(std::uint64_t seed, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  std::uint64_t seed() const { return seed_; }
  std::uint64_t stream() const { return stream_; }
  std::uint64_t position() const { return position_; }
  void set_position(std::uint64_t position) { position_ = position; }

  /// Reserves the blocks of `count` elements and returns the first one's position.
  std::uint64_t reserve(std::int64_t count) {
    const std::uint64_t first = position_;
    position_ += (static_cast<std::uint64_t>(count) + 1) / 2;
    return first;
  }

  /// An integer in [0, bound), by the multiply-high method on one 64-bit draw.
  std::uint64_t below(std::uint64_t bound);

 private:
  std::uint64_t seed_;
  std::uint64_t stream_;
  std::uint64_t position_ = 0;
};

/// Uniform on [low, high); a float32 may round up to high.
Tensor uniform(const Shape& shape, double low, double high, Generator& generator,
               TensorOptions options = {});
/// Normal, by Box-Muller on the pair (element 2k, element 2k + 1):
/// r = sqrt(-2 ln(1 - u0)), values r cos(2 pi u1) and r sin(2 pi u1).
Tensor normal(const Shape& shape, double mean, double standard_deviation, Generator& generator,
              TensorOptions options = {});
/// A random order of 0 .. count-1 (Fisher-Yates), int64 on the CPU.
Tensor permutation(std::int64_t count, Generator& generator);

}  // namespace gradus
