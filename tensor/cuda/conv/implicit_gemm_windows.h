// 3x3 convolutions on Hopper's tensor cores, which copy a pixel 1.6 times instead of 9
// (implicit_gemm_windows.cuh). Internal to tensor/cuda.
#pragma once

#include "tensor/cuda/conv/implicit_gemm.h"

namespace gradus::cuda::implicit_gemm::windows {

/// Whether convolve() takes a convolution that implicit_gemm::suits: 3x3 with stride 1 and padding
/// 1, images in whole squares of 8 x 8 pixels, and by warpgroups.
bool suits(const Conv2dGeometry& g);
/// Whether backward_weight() takes it. That of float32 also takes stride 2, and outputs of 4 x 4
/// pixels where images come in fours.
template <class E>
bool suits_backward_weight(const Conv2dGeometry& g);

/// output [N, H, W, O] = input [N, H, W, C] convolved with weight [O, 3, 3, C], which is rounded
/// already, + bias [O] or null; and its statistics where wanted. `name` is the launch's.
template <class E>
void convolve(const char* name, const E* input, const E* weight, const float* bias, E* output,
              const Conv2dGeometry& g, const Statistics& statistics);

/// Its dweight [O, 3, 3, C]; in TF32 both factors are rounded.
void backward_weight(const BFloat16* input, const BFloat16* doutput, float* dweight,
                     const Conv2dGeometry& g);
void backward_weight(const float* input, const float* doutput, float* dweight,
                     const Conv2dGeometry& g);

}  // namespace gradus::cuda::implicit_gemm::windows
