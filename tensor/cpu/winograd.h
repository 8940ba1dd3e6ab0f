// Stride-1 3x3 convolution by Winograd's F(4x4, 3x3): a quarter of the multiplications of the
// column matrix (conv.cpp), which stays its reference.
#pragma once

#include "tensor/geometry.h"

namespace gradus::cpu::winograd {

/// What the functions below compute: kernel 3x3, stride 1, dilation 1, one group, padding up to 2.
bool supports(const Conv2dGeometry& g);

/// Whether they are faster than the column matrix, too: enough channels and tiles, and images
/// that 4x4 tiles cover without much waste.
bool suits(const Conv2dGeometry& g);

/// As the contract's functions (tensor/kernels.inc), for float. The results do not depend on the
/// number of threads.
void conv2d(const float* input, const float* weight, const float* bias, float* output,
            const Conv2dGeometry& g);
void conv2d_backward_input(const float* doutput, const float* weight, float* dinput,
                           const Conv2dGeometry& g);
void conv2d_backward_weight(const float* input, const float* doutput, float* dweight,
                            const Conv2dGeometry& g);

}  // namespace gradus::cpu::winograd
