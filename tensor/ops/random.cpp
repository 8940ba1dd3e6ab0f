#include <gradus/tensor/random.h>

#include <cmath>
#include <utility>

#include <gradus/tensor/ops.h>
#include "tensor/ops/support.h"

namespace gradus {
namespace {

template <class Distribution>
Tensor drawn(std::string_view op, Distribution distribution, const Shape& shape,
             Generator& generator, TensorOptions options) {
  Tensor y = empty(shape, options);
  dispatch_floating(op, y.dtype(), [&]<class T>() {
    const PhiloxStream random{generator.seed(), generator.stream(), generator.reserve(y.numel())};
    GRADUS_KERNEL(y.device(), draw(distribution, random, y.data<T>(), y.numel()));
  });
  return y;
}

}  // namespace

std::uint64_t Generator::next_bits() {
  const PhiloxBlock block = philox(seed_, DrawScope::take(*this, 1), stream_);
  return (std::uint64_t{block.word[1]} << 32) | block.word[0];
}

std::uint64_t Generator::below(std::uint64_t bound) {
  check(bound > 0, "random", "the bound must be positive");
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((static_cast<Wide>(next_bits()) * bound) >> 64);
}

Tensor uniform(const Shape& shape, double low, double high, Generator& generator,
               TensorOptions options) {
  check(low <= high, "uniform", "low must not exceed high; got {} and {}", low, high);
  check(std::isfinite(high - low), "uniform", "the range must be finite; got {} to {}", low, high);
  return drawn("uniform", Uniform{low, high}, shape, generator, options);
}

Tensor normal(const Shape& shape, double mean, double standard_deviation, Generator& generator,
              TensorOptions options) {
  check(standard_deviation >= 0, "normal", "the standard deviation must not be negative; got {}",
        standard_deviation);
  check(std::isfinite(mean) && std::isfinite(standard_deviation), "normal",
        "mean and standard deviation must be finite; got {} and {}", mean, standard_deviation);
  return drawn("normal", Normal{mean, standard_deviation}, shape, generator, options);
}

Tensor permutation(std::int64_t count, Generator& generator) {
  check(count >= 0, "permutation", "the count must not be negative; got {}", count);
  Tensor result = arange(0, count);
  auto* const order = result.data<std::int64_t>();
  for (std::int64_t i = count - 1; i > 0; --i)
    std::swap(order[i], order[generator.below(static_cast<std::uint64_t>(i) + 1)]);
  return result;
}

Tensor dropout_mask(const Shape& shape, double p, Generator& generator, TensorOptions options) {
  check(p >= 0 && p < 1, "dropout", "the probability must be in [0, 1); got {}", p);
  return drawn("dropout", DropoutMask{p}, shape, generator, options);
}

}  // namespace gradus
