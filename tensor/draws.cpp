#include <gradus/tensor/draws.h>

#include <utility>

#include <gradus/tensor/check.h>
#include <gradus/tensor/random.h>

namespace gradus {
namespace {

thread_local DrawScope* innermost = nullptr;

}  // namespace

DrawScope::DrawScope() : outer_(std::exchange(innermost, this)) {}

DrawScope::~DrawScope() { innermost = outer_; }

std::uint64_t DrawScope::take(Generator& generator, std::uint64_t blocks) {
  return take_from(innermost, generator, blocks);
}

std::uint64_t DrawScope::take_outside(Generator& generator, std::uint64_t blocks) const {
  return take_from(outer_, generator, blocks);
}

std::uint64_t DrawScope::take_from(DrawScope* scope, Generator& generator, std::uint64_t blocks) {
  return scope != nullptr ? scope->take_inside(generator, blocks) : generator.advance(blocks);
}

std::uint64_t RecordDraws::take_inside(Generator& generator, std::uint64_t blocks) {
  const std::uint64_t position = take_outside(generator, blocks);
  draws_.push_back({generator.seed(), generator.stream(), position, blocks});
  return position;
}

std::uint64_t ReplayDraws::take_inside(Generator& generator, std::uint64_t blocks) {
  check(next_ < draws_.size(), "random", "the second run draws more random numbers than the first");
  const Draw& draw = draws_[next_++];
  check(draw == Draw{generator.seed(), generator.stream(), draw.position, blocks}, "random",
        "the second run draws other random numbers than the first");
  return draw.position;
}

void ReplayDraws::check_complete() const {
  check(next_ == draws_.size(), "random",
        "the second run drew fewer random numbers than the first");
}

}  // namespace gradus
