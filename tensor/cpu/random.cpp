#include <gradus/tensor/philox.h>
#include "tensor/backend/instantiate.h"
#include "tensor/cpu/parallel.h"

namespace gradus::cpu {

template <class T, class Distribution>
void draw(Distribution distribution, const PhiloxStream& random, T* y, std::int64_t n) {
  parallel_blocks(divide_up(n, 2), elementwise_grain / 16, [=](auto begin, auto end) {
    for (auto k = begin; k < end; ++k) {
      const PhiloxBlock b =
          philox(random.seed, random.position + static_cast<std::uint64_t>(k), random.stream);
      const DrawnPair pair =
          distribution(uniform_double(b.word[0], b.word[1]), uniform_double(b.word[2], b.word[3]));
      y[2 * k] = static_cast<T>(pair.first);
      if (2 * k + 1 < n) y[2 * k + 1] = static_cast<T>(pair.second);
    }
  });
}

GRADUS_INSTANTIATE_FLOATS(draw, Uniform)
GRADUS_INSTANTIATE_FLOATS(draw, Normal)
GRADUS_INSTANTIATE_FLOATS(draw, DropoutMask)

}  // namespace gradus::cpu
