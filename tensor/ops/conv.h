// Checks and shapes that convolutions share.
#pragma once

#include <string_view>

#include <gradus/tensor/ops.h>
#include "tensor/backend/geometry.h"

namespace gradus {

/// The sizes of a convolution, with everything about its shapes checked.
Conv2dGeometry conv2d_geometry(std::string_view op, const Shape& input, const Shape& weight,
                               const Conv2dOptions& options);

inline Shape output_shape(const Conv2dGeometry& g) { return {g.N, g.out_height, g.out_width, g.O}; }

}  // namespace gradus
