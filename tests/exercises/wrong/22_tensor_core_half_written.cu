// Wrong: the lower eight rows of C stay in the registers.
// The checker says: nobody has written C\[64\]
#pragma once

#include "tensor/cuda/tensor_core.h"

using gradus::BFloat16;
using gradus::cuda::SharedAddress;

__global__ void tensor_core_product(const BFloat16* a, const BFloat16* b, float* c_out) {
  const auto tile = gradus::cuda::dynamic_shared<BFloat16>(256 + 128);  // A, then B
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 256; i += 32) tile[i] = a[i];
  for (int i = lane; i < 128; i += 32) tile[256 + i] = b[i];
  __syncwarp();
  std::uint32_t ra[4], rb[4];
  float c[4] = {0, 0, 0, 0};
  const int matrix = lane / 8;
  const int row = lane % 8 + matrix % 2 * 8, column = matrix / 2 * 8;
  gradus::cuda::load_matrices(ra, SharedAddress(&tile[row * 16 + column]));
  gradus::cuda::load_matrices(rb, SharedAddress(&tile[256 + lane % 8 * 16 + matrix % 2 * 8]));
  gradus::cuda::multiply_add<BFloat16>(c, ra, rb[0], rb[1]);
  const int first = lane / 4 * 8 + lane % 4 * 2;
  c_out[first] = c[0];
  c_out[first + 1] = c[1];
}
