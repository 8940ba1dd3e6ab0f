// Integer arithmetic of kernels, for the host and for GPUs.
#pragma once

#include <type_traits>

#include <gradus/tensor/host_device.h>

namespace gradus {

/// a / b, rounded up; a >= 0, b > 0.
template <class A, class B>
GRADUS_HOST_DEVICE constexpr std::common_type_t<A, B> divide_up(A a, B b) {
  return (a + b - 1) / b;
}

/// The least multiple of b that is at least a; a >= 0, b > 0.
template <class A, class B>
GRADUS_HOST_DEVICE constexpr std::common_type_t<A, B> round_up(A a, B b) {
  return divide_up(a, b) * b;
}

}  // namespace gradus
