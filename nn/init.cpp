#include "nn/init.h"

#include <cmath>

namespace gradus::nn {

Tensor uniform_fan_in(const Shape& shape, std::int64_t fan_in, Generator& generator) {
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  return uniform(shape, -bound, bound, generator);
}

Tensor kaiming_normal_fan_out(const Shape& conv_weight_shape, Generator& generator) {
  const std::int64_t fan_out = conv_weight_shape[0] * conv_weight_shape[1] * conv_weight_shape[2];
  return normal(conv_weight_shape, 0, std::sqrt(2.0 / static_cast<double>(fan_out)), generator);
}

}  // namespace gradus::nn
