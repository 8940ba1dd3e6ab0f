// Which way a convolution goes, from the rates that levels of vector instructions were measured to
// have. Internal to the CPU's convolutions.
#pragma once

#include "tensor/backend/geometry.h"
#include "tensor/cpu/simd/level.h"

namespace gradus::cpu {

enum class ConvPass { forward, input_gradient, weight_gradient };

/// Whether Winograd's algorithm (winograd.h) may compute a pass and takes less time than direct
/// products (direct_conv.h). T is float or BFloat16.
template <class T>
bool winograd_is_faster(const Conv2dGeometry& g, ConvPass pass, simd::Level level = simd::level());

}  // namespace gradus::cpu
