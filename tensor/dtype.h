// The element types of a tensor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <gradus/tensor/bfloat16.h>

namespace gradus {

/// float32 for training, bfloat16 for activations in mixed precision, float64 for gradient checks,
/// uint8 for images and masks, int64 for labels.
enum class DType : std::uint8_t { float32, float64, bfloat16, uint8, int64 };

/// Bytes of one element.
constexpr std::size_t item_size(DType dtype) {
  switch (dtype) {
    case DType::float32: return 4;
    case DType::float64: return 8;
    case DType::bfloat16: return 2;
    case DType::uint8: return 1;
    case DType::int64: return 8;
  }
  return 0;
}

/// "float32", "float64", "bfloat16", "uint8" or "int64".
constexpr std::string_view name(DType dtype) {
  switch (dtype) {
    case DType::float32: return "float32";
    case DType::float64: return "float64";
    case DType::bfloat16: return "bfloat16";
    case DType::uint8: return "uint8";
    case DType::int64: return "int64";
  }
  return "unknown";
}

/// Whether elements are numbers with a fraction: float32, float64 or bfloat16.
constexpr bool is_floating(DType dtype) {
  return dtype == DType::float32 || dtype == DType::float64 || dtype == DType::bfloat16;
}

/// The type of parameters, statistics and sums beside activations of a floating type: float32 for
/// bfloat16, otherwise the type itself.
constexpr DType compute_dtype(DType dtype) {
  return dtype == DType::bfloat16 ? DType::float32 : dtype;
}

/// The DType of a C++ type: dtype_of<float> == DType::float32.
template <class T>
inline constexpr DType dtype_of = [] { static_assert(sizeof(T) == 0, "no DType for T"); }();
template <>
inline constexpr DType dtype_of<float> = DType::float32;
template <>
inline constexpr DType dtype_of<double> = DType::float64;
template <>
inline constexpr DType dtype_of<BFloat16> = DType::bfloat16;
template <>
inline constexpr DType dtype_of<std::uint8_t> = DType::uint8;
template <>
inline constexpr DType dtype_of<std::int64_t> = DType::int64;

}  // namespace gradus
