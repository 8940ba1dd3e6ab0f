// Matrix products of bfloat16 with sums in float, by register-blocked kernels (simd/kernels.h).
#pragma once

#include "tensor/bfloat16.h"
#include "tensor/geometry.h"

namespace gradus::cpu {

/// c = scale op(a) op(b), one product of a batch, as matmul (tensor/kernels.inc) has them; Out is
/// float or BFloat16. The results do not depend on the number of threads.
template <class Out>
void multiply_bfloat16(const BFloat16* a, const BFloat16* b, Out* c, const MatmulGeometry& g);

}  // namespace gradus::cpu
