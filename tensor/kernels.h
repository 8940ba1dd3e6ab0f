// The contract of a back end: the same kernels, on raw pointers, in the namespace of each back end.
// Arguments were validated and outputs allocated by the ops; kernels never fail on valid ones.
#pragma once

#include "tensor/elementwise.h"
#include "tensor/geometry.h"
#include "tensor/optimizer_ops.h"
#include "tensor/random.h"

namespace gradus::cpu {
#include "tensor/kernels.inc"
}  // namespace gradus::cpu
