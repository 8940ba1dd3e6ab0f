// Convolution as its definition reads, one thread an output element: what tests compare the fast
// kernels with. Nothing else calls it.
#pragma once

#include <gradus/tensor/bfloat16.h>
#include "tensor/backend/geometry.h"

namespace gradus::cuda::reference {

/// As the contract's functions (tensor/backend/kernels.inc); T is float, double or BFloat16.
template <class T>
void conv2d(const T* input, const Compute<T>* weight, const Compute<T>* bias, T* output,
            const Conv2dGeometry& g);
template <class T>
void conv2d_backward_input(const T* doutput, const Compute<T>* weight, T* dinput,
                           const Conv2dGeometry& g);
template <class T>
void conv2d_backward_weight(const T* input, const T* doutput, Compute<T>* dweight,
                            const Conv2dGeometry& g);

}  // namespace gradus::cuda::reference
