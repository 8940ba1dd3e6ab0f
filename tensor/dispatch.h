// From a tensor's device and dtype to a kernel: the only switch over them.
#pragma once

#include <cstring>

#include "tensor/check.h"
#include "tensor/device.h"
#include "tensor/dtype.h"
#include "tensor/kernels.h"

namespace gradus {

/// Calls `function.template operator()<T>()` with T = float or double; other types are an error.
template <class Function>
void dispatch_floating(std::string_view where, DType dtype, Function&& function) {
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
    case DType::uint8: return function.template operator()<std::uint8_t>();
    case DType::int64: return function.template operator()<std::int64_t>();
  }
}

[[noreturn]] inline void no_backend(Device device) {
  fail("dispatch", "this build has no {} back end", name(device));
}

/// Calls the kernel of a device's back end: GRADUS_KERNEL(x.device(), fill<T>(pointer, 0, n)).
/// A build without a back end never names its kernels.
#define GRADUS_KERNEL(device_, ...)                                        \
  do {                                                                     \
    if ((device_) != ::gradus::Device::cpu) ::gradus::no_backend(device_); \
    ::gradus::cpu::__VA_ARGS__;                                            \
  } while (false)

/// Copies bytes between or within devices.
inline void copy_bytes(void* to, Device to_device, const void* from, Device from_device,
                       std::size_t bytes) {
  if (to_device != Device::cpu) no_backend(to_device);
  if (from_device != Device::cpu) no_backend(from_device);
  std::memcpy(to, from, bytes);
}

}  // namespace gradus
