// 3x3 convolution by Winograd's algorithm (tensor/backend/winograd_matrices.h): with stride 1
// F(4x4, 3x3), a quarter of the multiplications of the column matrix (column_conv.h), which stays
// its reference; with stride 2 a like scheme with 81 of 144. T is float or BFloat16.
#pragma once

#include "tensor/backend/geometry.h"

namespace gradus::cpu::winograd {

/// What the functions below compute: kernel 3x3, dilation 1, one group; stride 1 with padding up to
/// 2, or stride 2 with padding 1.
bool supports(const Conv2dGeometry& g);

/// As the contract's functions (tensor/backend/kernels.inc). The results do not depend on the
/// number of threads.
template <class T>
void conv2d(const T* input, const float* weight, const float* bias, T* output,
            const Conv2dGeometry& g);
template <class T>
void conv2d_backward_input(const T* doutput, const float* weight, T* dinput,
                           const Conv2dGeometry& g);
template <class T>
void conv2d_backward_weight(const T* input, const T* doutput, float* dweight,
                            const Conv2dGeometry& g);

}  // namespace gradus::cpu::winograd
