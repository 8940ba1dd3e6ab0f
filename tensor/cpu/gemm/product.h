// Matrix products of float and bfloat16 with sums in float, by register-blocked kernels
// (simd/inner_kernels.h).
#pragma once

#include <gradus/tensor/bfloat16.h>
#include "tensor/backend/geometry.h"

namespace gradus::cpu {

/// c = scale op(a) op(b), one product of a batch, as matmul (tensor/backend/kernels.inc) has them;
/// T is float or BFloat16, Out is T or float. Each element is summed in the order of the depth:
/// results depend neither on the number of threads nor on where in the matrix a row or column
/// stands.
template <class T, class Out>
void multiply_blocked(const T* a, const T* b, Out* c, const MatmulGeometry& g);

}  // namespace gradus::cpu
