// Convolution as Eigen's matrix products over blocks of the column matrix (im2col.h): any
// convolution, and the plain reference for the faster ways. T is float or double.
#pragma once

#include "tensor/backend/geometry.h"

namespace gradus::cpu::columns {

/// As the contract's functions (tensor/backend/kernels.inc).
template <class T>
void conv2d(const T* input, const T* weight, const T* bias, T* output, const Conv2dGeometry& g);
template <class T>
void conv2d_backward_input(const T* doutput, const T* weight, T* dinput, const Conv2dGeometry& g);
template <class T>
void conv2d_backward_weight(const T* input, const T* doutput, T* dweight, const Conv2dGeometry& g);

}  // namespace gradus::cpu::columns
