// Resizing the images of a data set, once, before training.
#pragma once

#include <cstdint>

#include <gradus/tensor/tensor.h>

namespace gradus::data {

/// The largest centred square of each image, resized: uint8 [N, H, W, C] on the CPU ->
/// [N, side, side, C]; images of that size are returned as they are.
///
/// Along each axis, output pixel i is the mean of the source pixels x (of s, centres at x + 0.5)
/// with weights max(0, 1 - |x + 0.5 - (i + 0.5) r| / max(r, 1)), r = s / side: bilinear
/// interpolation, and antialiased where it shrinks (as Pillow's BILINEAR and PyTorch's antialias).
/// Throws Error if the images are none or the side is not in [1, 65536].
Tensor resize_square(const Tensor& images, std::int64_t side);

}  // namespace gradus::data
