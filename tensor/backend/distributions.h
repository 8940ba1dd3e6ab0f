// Distributions of random tensors, written once for every back end. Each makes two neighbouring
// elements of the two uniforms in [0, 1) of one Philox block (tensor/random.h).
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

#include <gradus/tensor/host_device.h>

namespace gradus {

/// Where the blocks of a tensor come from: block k is philox(seed, position + k, stream).
struct PhiloxStream {
  std::uint64_t seed, stream, position;
};

/// Elements 2 k and 2 k + 1.
struct DrawnPair {
  double first, second;
};

/// Uniform on [low, high).
struct Uniform {
  double low, high;
  GRADUS_HOST_DEVICE DrawnPair operator()(double u0, double u1) const {
    return {low + (high - low) * u0, low + (high - low) * u1};
  }
};

/// Normal, by Box-Muller.
struct Normal {
  double mean, standard_deviation;
  GRADUS_HOST_DEVICE DrawnPair operator()(double u0, double u1) const {
    const double radius = standard_deviation * std::sqrt(-2 * std::log1p(-u0));
    const double angle = 2 * std::numbers::pi * u1;
    return {mean + radius * std::cos(angle), mean + radius * std::sin(angle)};
  }
};

/// 0 with probability p, else 1 / (1 - p).
struct DropoutMask {
  double p;
  GRADUS_HOST_DEVICE DrawnPair operator()(double u0, double u1) const {
    const double kept = 1 / (1 - p);
    return {u0 < p ? 0 : kept, u1 < p ? 0 : kept};
  }
};

}  // namespace gradus
