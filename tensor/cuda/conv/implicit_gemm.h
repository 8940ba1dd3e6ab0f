// Convolution as implicit GEMM on the tensor cores, in bfloat16 or TF32 with sums in float32: the
// matrix product that a convolution is, without the column matrix in memory. Internal to
// tensor/cuda.
#pragma once

#include <gradus/tensor/bfloat16.h>
#include "tensor/backend/geometry.h"

namespace gradus::cuda::implicit_gemm {

/// Whether the kernels below take a convolution, and pay: kernel 3x3 with padding 1 and stride 1 or
/// 2, or kernel 1x1 with stride 2 (with stride 1 the input is the column matrix already, and cuBLAS
/// is faster); one group, no dilation, channels in multiples of 64, indices below 2^31, and a GPU
/// of compute capability 8.0 or newer.
bool suits(const Conv2dGeometry& g);

/// Whether what this GPU runs of the program was compiled for compute capability 8.0 or newer.
bool has_code();

/// Whether products go by Hopper's warpgroups (warpgroup.h): on a GPU of compute capability 9.0
/// whose code the program holds as sm_90a.
bool uses_warpgroups();
/// For tests: whether they may, where they can; returns what was set before. The emulated GPU can
/// do both, and may not at first.
bool allow_warpgroups(bool on);

/// Where the mean and the variance of each channel of an output go, [O]; null where not wanted.
struct Statistics {
  float* mean = nullptr;
  float* variance = nullptr;
};

/// As the contract's functions (tensor/backend/kernels.inc), E being BFloat16 or float. All
/// pointers but bias are aligned to 16 bytes. Inputs are rounded to bfloat16 or
/// TF32 to nearest; but of float32, warpgroups drop the bits that TF32 does not have: those of
/// input forward, and of doutput where it makes dinput.
template <class E>
void conv2d(const E* input, const float* weight, const float* bias, E* output,
            const Conv2dGeometry& g, const Statistics& statistics = {});
template <class E>
void conv2d_backward_input(const E* doutput, const float* weight, E* dinput,
                           const Conv2dGeometry& g);
template <class E>
void conv2d_backward_weight(const E* input, const E* doutput, float* dweight,
                            const Conv2dGeometry& g);

}  // namespace gradus::cuda::implicit_gemm
