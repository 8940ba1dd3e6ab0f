// Kernels that a back end may have beyond tensor/backend/kernels.h: several operations as one.
#pragma once

#include <gradus/tensor/device.h>
#include "tensor/backend/kernels.h"

namespace gradus::cpu {
#include "tensor/backend/fused_kernels.inc"
}  // namespace gradus::cpu

namespace gradus {

/// Whether a device's back end has them.
constexpr bool has_fused_kernels(Device device) { return device == Device::cpu; }

}  // namespace gradus
