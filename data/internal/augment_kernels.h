// The kernels of the data pipeline: the same signatures in the namespace of each back end, as in
// tensor/backend/kernels.h. No fmt here: nvcc reads this header.
#pragma once

#include <cstdint>

#include <gradus/data/augment_options.h>

namespace gradus::cpu {
#include "data/internal/augment_kernels.inc"
}  // namespace gradus::cpu

namespace gradus::cuda {
#include "data/internal/augment_kernels.inc"
}  // namespace gradus::cuda
