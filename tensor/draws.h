// Running a piece of code again with the random numbers that it drew the first time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace gradus {

class Generator;

/// What one draw took from a generator: `blocks` blocks of its seed and stream from `position` on
/// (tensor/random.h).
struct Draw {
  std::uint64_t seed, stream, position, blocks;
  bool operator==(const Draw&) const = default;
};

/// While one is alive, this thread's draws from any Generator go through it; of several, through
/// the innermost.
class DrawScope {
 public:
  DrawScope();
  virtual ~DrawScope();
  DrawScope(const DrawScope&) = delete;
  DrawScope& operator=(const DrawScope&) = delete;

  /// Takes blocks from the generator, or what stands for it: the position of the first.
  static std::uint64_t take(Generator& generator, std::uint64_t blocks);

 protected:
  /// take(), past this scope.
  std::uint64_t take_outside(Generator& generator, std::uint64_t blocks) const;

 private:
  /// What take() does while this scope is the innermost.
  virtual std::uint64_t take_inside(Generator& generator, std::uint64_t blocks) = 0;
  static std::uint64_t take_from(DrawScope* scope, Generator& generator, std::uint64_t blocks);
  DrawScope* outer_;
};

/// Notes the draws in order.
class RecordDraws : public DrawScope {
 public:
  /// Those made so far.
  const std::vector<Draw>& draws() const { return draws_; }

 private:
  std::uint64_t take_inside(Generator& generator, std::uint64_t blocks) override;
  std::vector<Draw> draws_;
};

/// Gives the recorded draws again, in order, and leaves the generators where they are. A draw that
/// was not recorded is an Error.
class ReplayDraws : public DrawScope {
 public:
  /// `draws` must outlive it.
  explicit ReplayDraws(const std::vector<Draw>& draws) : draws_(draws) {}
  /// Throws Error unless all draws were made.
  void check_complete() const;

 private:
  std::uint64_t take_inside(Generator& generator, std::uint64_t blocks) override;
  const std::vector<Draw>& draws_;
  std::size_t next_ = 0;
};

}  // namespace gradus
