// Argument checks and layouts that the ops share.
#pragma once

#include <string_view>

#include "tensor/dispatch.h"
#include "tensor/geometry.h"
#include "tensor/tensor.h"

namespace gradus {

inline void check_defined(std::string_view op, std::string_view argument, const Tensor& x) {
  check(x.defined(), op, "{} is undefined (it was never given a value)", argument);
}

inline void check_floating(std::string_view op, std::string_view argument, const Tensor& x) {
  check_defined(op, argument, x);
  check(is_floating(x.dtype()), op, "{} must be float32 or float64; got {}", argument,
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

inline void check_shape(std::string_view op, std::string_view argument, const Tensor& x,
                        const Shape& shape) {
  check_defined(op, argument, x);
  check(x.shape() == shape, op, "{} must have shape {}; got {}", argument, shape, x.shape());
}

/// How an output of shape `out` reads inputs of shapes `a` and `b` that broadcast to it.
StridedGeometry broadcast_geometry(const Shape& out, const Shape& a, const Shape& b);

}  // namespace gradus
