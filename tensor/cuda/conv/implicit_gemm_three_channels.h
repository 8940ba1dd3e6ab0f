// The first layer of a network, 3x3 from the 3 channels of images, by implicit GEMM: 27 columns,
// which are one step along k. Internal to tensor/cuda.
#pragma once

#include "tensor/cuda/conv/implicit_gemm.h"

namespace gradus::cuda::implicit_gemm::three_channels {

/// Whether the functions below take a convolution: 3x3 of 3 channels to a multiple of 64, the same
/// stride and padding in both directions, one group, no dilation, indices below 2^31, and a GPU of
/// compute capability 8.0 or newer.
bool suits(const Conv2dGeometry& g);

/// As implicit_gemm's; all pointers but input and bias are aligned to 16 bytes. Inputs are rounded
/// to nearest.
template <class E>
void conv2d(const E* input, const float* weight, const float* bias, E* output,
            const Conv2dGeometry& g, const Statistics& statistics = {});
template <class E>
void conv2d_backward_weight(const E* input, const E* doutput, float* dweight,
                            const Conv2dGeometry& g);

}  // namespace gradus::cuda::implicit_gemm::three_channels
