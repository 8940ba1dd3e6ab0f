// 3x3 convolution by Winograd's algorithm: stride 1 by F(4x4, 3x3) or F(2x2, 3x3), with 1/4 or
// 1/2.25 of the column matrix's multiplications, and stride 2 with 81 of 144. The column matrix
// (column_conv.h) is the reference. T is float or BFloat16.
#pragma once

#include <functional>

#include "tensor/backend/geometry.h"
#include "tensor/cpu/simd/inner_kernels.h"

namespace gradus::cpu::winograd {

/// What the functions below compute: kernel 3x3, dilation 1, one group; stride 1 with padding up to
/// 2, or, for tiles of 4 outputs, stride 2 with padding 1.
bool supports(const Conv2dGeometry& g, int output_side);

/// Whether they are faster than the column matrix, too, with tiles of `output_side` outputs (2 or
/// 4): enough channels and tiles, and images that the tiles cover without much waste.
bool suits(const Conv2dGeometry& g, int output_side);

/// The size of tiles to convolve g with (use_winograd() in tensor/device.h), 0 if that does not
/// suit.
int side_for(const Conv2dGeometry& g);

/// What is done with each `pixels` of the outputs while they are in a cache: run(block) for outputs
/// [block pixels, (block + 1) pixels), once each, by any thread.
struct BlockPass {
  std::int64_t pixels;
  std::function<void(std::int64_t block)> run;
};

/// As the contract's functions (tensor/backend/kernels.inc), with tiles of `output_side` (2 or 4)
/// outputs a side. Of inputs, max(normalised x, 0) is convolved where `norm` is given. The results
/// do not depend on the number of threads. Returns whether `pass` was made over the results, too:
/// not if it is null, or if its blocks do not suit the tiles or the threads.
template <class T>
bool conv2d(const T* input, const simd::Normalisation<float>* norm, const float* weight,
            const float* bias, T* output, const Conv2dGeometry& g, int output_side,
            const BlockPass* pass = nullptr);
template <class T>
bool conv2d_backward_input(const T* doutput, const float* weight, T* dinput,
                           const Conv2dGeometry& g, int output_side,
                           const BlockPass* pass = nullptr);
template <class T>
void conv2d_backward_weight(const T* input, const simd::Normalisation<float>* norm,
                            const T* doutput, float* dweight, const Conv2dGeometry& g,
                            int output_side);

}  // namespace gradus::cpu::winograd
