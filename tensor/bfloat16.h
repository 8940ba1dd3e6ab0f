// bfloat16: the upper half of a float32, for activations and the inputs of matrix products.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include <gradus/tensor/host_device.h>

namespace gradus {

/// A float32 cut to 8 bits of significand: the same range, a relative rounding error of up to 2^-8.
/// It only stores: arithmetic converts to float.
struct BFloat16 {
  std::uint16_t bits;

  BFloat16() = default;
  /// Rounds to nearest, ties to even; NaN stays NaN.
  GRADUS_HOST_DEVICE explicit BFloat16(float x) {
    const auto word = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t rounded = (word + 0x7FFFu + ((word >> 16) & 1u)) >> 16;
    bits = static_cast<std::uint16_t>(x != x ? 0x7FC0u : rounded);
  }
  /// From any other number, which is rounded to float first.
  template <class T>
  requires std::is_arithmetic_v<T> GRADUS_HOST_DEVICE explicit BFloat16(T x)
      : BFloat16(static_cast<float>(x)) {}

  /// Exact.
  GRADUS_HOST_DEVICE operator float() const {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
};

namespace detail {
template <class T>
struct ComputeType {
  using type = T;
};
template <>
struct ComputeType<BFloat16> {
  using type = float;
};
}  // namespace detail

/// The type that arithmetic on elements of type T is done in, and that parameters, statistics and
/// their gradients have beside activations of type T: float for BFloat16, otherwise T.
template <class T>
using Compute = typename detail::ComputeType<T>::type;

}  // namespace gradus
