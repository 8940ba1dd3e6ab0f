// Exercise 22: a product on the tensor cores.
//
// A tensor core multiplies small matrices in one instruction, which a warp executes together. Here
// it is C += A B^T for A [16, 16] and B [8, 16] in bfloat16, C [16, 8] in float. Each lane holds a
// part of each: registers ra[4] of A, rb[2] of B, c[4] of C. load_matrices fills such registers
// from shared memory: four matrices of 8 x 8 at once, for which lane l names the address of row l %
// 8 of matrix l / 8. The four of A are, in this order: rows 0-7 of columns 0-7, rows 8-15 of
// columns 0-7, rows 0-7 of columns 8-15, rows 8-15 of columns 8-15. Of B only two are needed,
// columns 0-7 and 8-15; the lanes from 16 on name them again. Lane l gets of C the columns 2 (l %
// 4) and the next one, of row l / 4 in c[0], c[1], and of row l / 4 + 8 in c[2], c[3].
//
// Task: name the rows, multiply, and store C (row-major).
//
// In the library: tensor/cuda/tensor_core.h, tensor/cuda/gemm.
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
  // TODO: other indices than 0 and 256 of the tile; then c_out.
  gradus::cuda::load_matrices(ra, SharedAddress(&tile[0]));
  gradus::cuda::load_matrices(rb, SharedAddress(&tile[256]));
  gradus::cuda::multiply_add<BFloat16>(c, ra, rb[0], rb[1]);
}
