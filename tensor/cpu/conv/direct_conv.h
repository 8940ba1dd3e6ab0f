// Convolution as register-blocked products of a block's windows (windows.h) with packed weights:
// for strides, 1x1 kernels, few channels, and tiles. T is float or BFloat16, with sums in float.
// The column matrix (column_conv.h) is the reference.
#pragma once

#include "tensor/backend/geometry.h"

namespace gradus::cpu::direct {

/// What the functions below compute: one group, dilation 1.
bool supports(const Conv2dGeometry& g);

/// How many taps of all windows are multiplied: not those of the padding above and below an image,
/// nor, where it is narrow, beside it.
std::int64_t terms(const Conv2dGeometry& g);

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

}  // namespace gradus::cpu::direct
