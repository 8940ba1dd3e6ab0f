// The contract of a back end: the same kernels, on raw pointers, in the namespace of each back end.
// Arguments were validated and outputs allocated by the ops; kernels never fail on valid ones.
#pragma once

#include <gradus/tensor/bfloat16.h>
#include <gradus/tensor/elementwise.h>
#include "tensor/backend/batch_norm_backward.h"
#include "tensor/backend/distributions.h"
#include "tensor/backend/geometry.h"
#include "tensor/backend/vicreg.h"

namespace gradus::cpu {
#include "tensor/backend/kernels.inc"
}  // namespace gradus::cpu

namespace gradus::cuda {
#include "tensor/backend/kernels.inc"
}  // namespace gradus::cuda
