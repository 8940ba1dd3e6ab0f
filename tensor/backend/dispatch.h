// From a tensor's device and dtype to a kernel: the only switch over them.
#pragma once

#include <gradus/tensor/check.h>
#include <gradus/tensor/device.h>
#include <gradus/tensor/dtype.h>
#include <gradus/tensor/trace.h>
#include "tensor/backend/kernels.h"
#include "tensor/backend/runtime.h"

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

/// "fill" of the call "fill<T>(pointer, 0, n)".
consteval std::string_view called_name(std::string_view call) {
  return call.substr(0, call.find_first_of("<("));
}

}  // namespace gradus

/// Calls the kernel of a device's back end: GRADUS_KERNEL(x.device(), fill<T>(pointer, 0, n)).
/// In a build without CUDA no tensor lies on a GPU, and no kernel of its back end is named.
#if defined(GRADUS_CUDA)
#define GRADUS_KERNEL(device_, ...)                                                           \
  (static_cast<void>(::gradus::TraceInterval("kernel", ::gradus::called_name(#__VA_ARGS__))), \
   GRADUS_BACKEND(device_, __VA_ARGS__))
#else
#define GRADUS_KERNEL(device_, ...)                                                           \
  (static_cast<void>(::gradus::TraceInterval("kernel", ::gradus::called_name(#__VA_ARGS__))), \
   static_cast<void>(device_), ::gradus::cpu::__VA_ARGS__)
#endif
