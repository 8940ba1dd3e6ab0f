// Random tensors from counter-based random numbers (tensor/philox.h).
#pragma once

#include <cstdint>

#include <gradus/tensor/draws.h>
#include <gradus/tensor/philox.h>
#include <gradus/tensor/tensor.h>

namespace gradus {

/// A stream of random tensors: a seed (the Philox key), a stream number (the counter's high half)
/// and a position (its low half).
///
/// Element i of a drawn tensor comes from block `position + i / 2`, whatever the element type:
/// words 0 and 1 for even i, words 2 and 3 for odd i, made into a double in [0, 1). A draw of n
/// elements moves the position by ceil(n / 2). Float tensors hold the same numbers, rounded.
///
/// It can't be copied, for the copy would draw the same numbers: what needs numbers of its own, as
/// a layer does, takes a generator that was split off.
class Generator {
 public:
  /// Starts at position 0.
  explicit Generator(std::uint64_t seed, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;

  /// A new generator of independent numbers: its seed is drawn from this one, and so takes a block
  /// that nothing else gets.
  Generator split() { return Generator(next_bits()); }

  std::uint64_t seed() const { return seed_; }
  std::uint64_t stream() const { return stream_; }
  std::uint64_t position() const { return position_; }
  /// Goes to a position that position() gave: for a checkpoint.
  void set_position(std::uint64_t position) { position_ = position; }

  /// Reserves the blocks of `count` elements and returns the first one's position.
  std::uint64_t reserve(std::int64_t count) {
    return DrawScope::take(*this, (static_cast<std::uint64_t>(count) + 1) / 2);
  }

  /// An integer in [0, bound), bound >= 1, by the multiply-high method on one 64-bit draw.
  std::uint64_t below(std::uint64_t bound);

 private:
  friend class DrawScope;
  /// Moves on by `blocks` and returns where it was.
  std::uint64_t advance(std::uint64_t blocks) {
    const std::uint64_t first = position_;
    position_ += blocks;
    return first;
  }
  /// 64 random bits: half a block.
  std::uint64_t next_bits();

  std::uint64_t seed_;
  std::uint64_t stream_;
  std::uint64_t position_ = 0;
};

/// Uniform on [low, high), low <= high, high - low finite; numbers may round up to
/// high, those of bfloat16 most often. Like normal's, the type is floating.
Tensor uniform(const Shape& shape, double low, double high, Generator& generator,
               TensorOptions options = {});
/// mean + standard_deviation z, z normal by Box-Muller on the pair (element 2k, element 2k + 1):
/// r = sqrt(-2 ln(1 - u0)), values r cos(2 pi u1) and r sin(2 pi u1). Both are finite, the
/// deviation is not negative.
Tensor normal(const Shape& shape, double mean, double standard_deviation, Generator& generator,
              TensorOptions options = {});
/// A random order of 0 .. count-1 (Fisher-Yates), int64 on the CPU.
Tensor permutation(std::int64_t count, Generator& generator);

}  // namespace gradus
