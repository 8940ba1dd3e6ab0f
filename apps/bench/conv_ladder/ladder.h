// One convolution, written six times, each faster than the one before it: naive, tiled in shared
// memory, vectorised, on tensor cores, pipelined, fused. The files are to be read in this order;
// what the library itself runs (tensor/cuda/conv/implicit_gemm.cuh) is the next step.
//
// output [N, H, W, O] = input [N, H, W, C] convolved with weight [O, 3, 3, C], stride 1, padding 1:
// bfloat16, with sums in float32. It is a matrix product: rows are output pixels, columns are
// output channels, and the sums run along k, the 9 taps of the kernel and C channels for each.
#pragma once

#include <cstdint>

#include <gradus/tensor/bfloat16.h>
#include "tensor/cuda/runtime/launch.h"
#include "tensor/cuda/shared_array.h"

namespace gradus::conv_ladder {

inline constexpr int taps = 9;

/// Sizes; C and O are multiples of 64, and no tensor has 2^31 elements.
struct Problem {
  int N, H, W, C, O;
  GRADUS_HOST_DEVICE int pixels() const { return N * H * W; }
  double flops() const { return 2.0 * pixels() * O * taps * C; }
};

/// The steps. All pointers are the GPU's, aligned to 16 bytes; each starts one kernel.
void naive(const BFloat16* input, const BFloat16* weight, BFloat16* output, const Problem& p);
void tiled(const BFloat16* input, const BFloat16* weight, BFloat16* output, const Problem& p);
void vectorised(const BFloat16* input, const BFloat16* weight, BFloat16* output, const Problem& p);
void tensor_cores(const BFloat16* input, const BFloat16* weight, BFloat16* output,
                  const Problem& p);
void pipelined(const BFloat16* input, const BFloat16* weight, BFloat16* output, const Problem& p);
/// output = max(0, scale x + shift), where x is the convolution; scale, shift [O]: batch norm in
/// evaluation, with ReLU.
void fused(const BFloat16* input, const BFloat16* weight, const float* scale, const float* shift,
           BFloat16* output, const Problem& p);
/// The same by a kernel of its own: output = max(0, scale x + shift); x, output [N, H, W, O].
void scale_shift_relu(const BFloat16* x, const float* scale, const float* shift, BFloat16* output,
                      const Problem& p);

/// One of the product's rows: an output pixel.
struct Pixel {
  int n, h, w;
};

__device__ inline Pixel pixel_of(const Problem& p, int number) {
  return {number / (p.H * p.W), number / p.W % p.H, number % p.W};
}

/// Where the channels of the input lie that a tap of the output pixel reads; -1 in the padding.
__device__ inline int input_offset(const Problem& p, const Pixel& pixel, int tap) {
  const int h = pixel.h + tap / 3 - 1, w = pixel.w + tap % 3 - 1;
  if (h < 0 || h >= p.H || w < 0 || w >= p.W) return -1;
  return ((pixel.n * p.H + h) * p.W + w) * p.C;
}

/// One number of global memory.
__device__ inline float read(const BFloat16* p) {
  return static_cast<float>(cuda::load_vector<1>(p)[0]);
}

/// What a launch does at least.
inline cuda::Work work_of(const Problem& p, cuda::Unit unit) {
  const double inputs = 1.0 * p.pixels() * p.C, outputs = 1.0 * p.pixels() * p.O;
  return {.bytes = (inputs + outputs + 1.0 * taps * p.C * p.O) * sizeof(BFloat16),
          .flops = p.flops(),
          .unit = unit};
}

}  // namespace gradus::conv_ladder
