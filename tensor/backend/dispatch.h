// From a tensor's device and dtype to a kernel: the only switch over them.
#pragma once

#include <gradus/tensor/check.h>
#include <gradus/tensor/device.h>
#include <gradus/tensor/dtype.h>
#include "tensor/backend/kernels.h"

namespace gradus {

/// Calls `function.template operator()<T>()` with T = float, double or BFloat16; other types are an
/// error.
template <class Function>
void dispatch_floating(std::string_view where, DType dtype, Function&& function) {
  switch (dtype) {
    case DType::float32: return function.template operator()<float>();
    case DType::float64: return function.template operator()<double>();
    case DType::bfloat16: return function.template operator()<BFloat16>();
    default: fail(where, "elements must be float32, float64 or bfloat16; got {}", name(dtype));
  }
}

/// Calls `function.template operator()<T>()` with T = float or double; other types are an error.
template <class Function>
void dispatch_full_precision(std::string_view where, DType dtype, Function&& function) {
  switch (dtype) {
    case DType::float32: return function.template operator()<float>();
    case DType::float64: return function.template operator()<double>();
    default: fail(where, "elements must be float32 or float64; got {}", name(dtype));
  }
}

/// Calls `function.template operator()<T>()` with the C++ type of any dtype.
template <class Function>
void dispatch_any(DType dtype, Function&& function) {
  switch (dtype) {
    case DType::float32: return function.template operator()<float>();
    case DType::float64: return function.template operator()<double>();
    case DType::bfloat16: return function.template operator()<BFloat16>();
    case DType::uint8: return function.template operator()<std::uint8_t>();
    case DType::int64: return function.template operator()<std::int64_t>();
  }
}

/// Calls the kernel of a device's back end: GRADUS_KERNEL(x.device(), fill<T>(pointer, 0, n)).
/// A build without a back end never names its kernels.
#if defined(GRADUS_CUDA)
#define GRADUS_KERNEL(device_, ...)            \
  do {                                         \
    if ((device_) == ::gradus::Device::cuda) { \
      ::gradus::cuda::__VA_ARGS__;             \
    } else {                                   \
      ::gradus::cpu::__VA_ARGS__;              \
    }                                          \
  } while (false)
#else
[[noreturn]] inline void no_backend(Device device) {
  fail("dispatch", "this build has no {} back end", name(device));
}
#define GRADUS_KERNEL(device_, ...)                                        \
  do {                                                                     \
    if ((device_) != ::gradus::Device::cpu) ::gradus::no_backend(device_); \
    ::gradus::cpu::__VA_ARGS__;                                            \
  } while (false)
#endif

}  // namespace gradus
