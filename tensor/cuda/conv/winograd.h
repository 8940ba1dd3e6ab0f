// Stride-1 3x3 convolution by Winograd's F(4x4, 3x3), non-fused: tiles are transformed to 36
// frequencies, each frequency is a matrix product over the channels, and the products are
// transformed back. Internal to tensor/cuda.
#pragma once

#include "tensor/backend/geometry.h"

namespace gradus::cuda::winograd {

/// Whether the kernels below take a convolution, and pay: kernel 3x3, stride 1, dilation 1, one
/// group, padding up to 2, and enough channels for a matrix product.
bool suits(const Conv2dGeometry& g);

/// As the contract's functions (tensor/backend/kernels.inc); T is float or double.
template <class T>
void conv2d(const T* input, const T* weight, const T* bias, T* output, const Conv2dGeometry& g);
template <class T>
void conv2d_backward_input(const T* doutput, const T* weight, T* dinput, const Conv2dGeometry& g);
template <class T>
void conv2d_backward_weight(const T* input, const T* doutput, T* dweight, const Conv2dGeometry& g);

}  // namespace gradus::cuda::winograd
