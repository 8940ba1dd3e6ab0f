// Argument checks and layouts that the ops share.
#pragma once

#include <cmath>
#include <string_view>

#include <gradus/tensor/ops.h>
#include <gradus/tensor/tensor.h>
#include "tensor/backend/dispatch.h"
#include "tensor/backend/geometry.h"

namespace gradus {

inline void check_defined(std::string_view op, std::string_view argument, const Tensor& x) {
  check(x.defined(), op, "{} is undefined (it was never given a value)", argument);
}

inline void check_floating(std::string_view op, std::string_view argument, const Tensor& x) {
  check_defined(op, argument, x);
  check(is_floating(x.dtype()), op, "{} must be float32, float64 or bfloat16; got {}", argument,
        name(x.dtype()));
}

/// Both defined, with one dtype, on one device.
inline void check_same_kind(std::string_view op, std::string_view name_a, const Tensor& a,
                            std::string_view name_b, const Tensor& b) {
  check_defined(op, name_a, a);
  check_defined(op, name_b, b);
  check(a.dtype() == b.dtype(), op, "{} and {} must have one dtype; got {} and {}", name_a, name_b,
        name(a.dtype()), name(b.dtype()));
  check(a.device() == b.device(), op, "{} and {} must lie on one device; got {} and {}", name_a,
        name_b, name(a.device()), name(b.device()));
}

/// A parameter, or its gradient, beside activations: of compute_dtype(activation), on its device.
inline void check_parameter(std::string_view op, std::string_view activation_name,
                            const Tensor& activation, std::string_view parameter_name,
                            const Tensor& parameter) {
  check_floating(op, activation_name, activation);
  check_defined(op, parameter_name, parameter);
  const DType expected = compute_dtype(activation.dtype());
  if (expected == activation.dtype()) {
    return check_same_kind(op, activation_name, activation, parameter_name, parameter);
  }
  check(parameter.dtype() == expected, op, "{} must be {} where {} is {}; got {}", parameter_name,
        name(expected), activation_name, name(activation.dtype()), name(parameter.dtype()));
  check(activation.device() == parameter.device(), op,
        "{} and {} must lie on one device; got {} and {}", activation_name, parameter_name,
        name(activation.device()), name(parameter.device()));
}

inline void check_shape(std::string_view op, std::string_view argument, const Tensor& x,
                        const Shape& shape) {
  check_defined(op, argument, x);
  check(x.shape() == shape, op, "{} must have shape {}; got {}", argument, shape, x.shape());
}

/// Like another tensor in dtype, device and shape.
inline void check_like(std::string_view op, std::string_view argument, const Tensor& x,
                       std::string_view like_name, const Tensor& like) {
  check_same_kind(op, argument, x, like_name, like);
  check_shape(op, argument, x, like.shape());
}

/// Places of maxima that a reduction or pooling returned, or labels.
inline void check_index(std::string_view op, std::string_view argument, const Tensor& index,
                        Device device) {
  check_defined(op, argument, index);
  check(index.dtype() == DType::int64 && index.device() == device, op,
        "{} must be int64 on {}; got {} on {}", argument, name(device), name(index.dtype()),
        name(index.device()));
}

/// What is added to a variance before its root is taken.
inline void check_eps(std::string_view op, double eps) {
  check(std::isfinite(eps) && eps >= 0, op, "eps must be finite and not negative; got {}", eps);
}

/// The elements, or null for an undefined tensor.
template <class T>
const T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}

/// x [..., columns] seen as rows of its last axis.
struct Rows {
  std::int64_t rows, columns;
};
inline Rows rows_of(const Tensor& x) {
  const std::int64_t columns = x.size(-1);
  return {columns == 0 ? 0 : x.numel() / columns, columns};
}

/// How an output of shape `out` reads inputs of shapes `a` and `b` that broadcast to it.
StridedGeometry broadcast_geometry(const Shape& out, const Shape& a, const Shape& b);

}  // namespace gradus
