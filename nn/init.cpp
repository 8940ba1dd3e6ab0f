#include <gradus/nn/init.h>

#include <cmath>

namespace gradus::nn {

Tensor uniform_fan_in(const Shape& shape, std::int64_t fan_in, Generator& generator) {
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  return uniform(shape, -bound, bound, generator);
}

Tensor kaiming_normal_fan_out(const Shape& conv_weight_shape, Generator& generator) {
  const Shape& shape = conv_weight_shape;
  const std::int64_t fan_out = Shape{shape[0], shape[1], shape[2]}.numel();
  return normal(shape, 0, std::sqrt(2.0 / static_cast<double>(fan_out)), generator);
}

}  // namespace gradus::nn
