// Convolution as its definition reads, in nested loops: what the fast kernels are compared with.
#pragma once

#include <gradus/tensor/ops.h>

namespace gradus::test {

/// The value and the three gradients of conv2d, all float64 on the CPU.
struct Conv2dReference {
  Tensor output, dinput, dweight, dbias;
};

/// Inputs of any floating type and device; `doutput` has the output's shape.
Conv2dReference conv2d_reference(const Tensor& input, const Tensor& weight, const Tensor& bias,
                                 const Tensor& doutput, const Conv2dOptions& options);

}  // namespace gradus::test
