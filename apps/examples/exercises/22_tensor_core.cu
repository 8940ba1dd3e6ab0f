// Exercise 22: a product on the tensor cores.
//
// A tensor core multiplies small matrices in one instruction, which a warp executes together. Here
// it is C += A B^T for A [16, 16] and B [8, 16] in bfloat16 (the upper half of a float), C [16, 8]
// in float. No lane holds a whole matrix, but a part of each: registers ra[4] of A, rb[0] and rb[1]
// of B, c[4] of C.
//
// load_matrices fills such registers from shared memory, four matrices of 8 x 8 at once. Lane l
// says where row l % 8 of matrix l / 8 begins, so lanes 0 to 7 give the rows of matrix 0, lanes 8
// to 15 those of matrix 1, and so on:
//
//   A, matrix 0: rows 0-7, columns 0-7       matrix 2: rows 0-7, columns 8-15
//      matrix 1: rows 8-15, columns 0-7      matrix 3: rows 8-15, columns 8-15
//   B, matrix 0: rows 0-7, columns 0-7       matrix 1: rows 0-7, columns 8-15
//
// (B has no others: lanes 16 to 31 give the rows of these two again.) After the product lane l has
// the elements of C in columns 2 (l % 4) and 2 (l % 4) + 1: those of row l / 4 in c[0] and c[1],
// and those of row l / 4 + 8 in c[2] and c[3].
//
// Three words below are new: dynamic_shared is shared memory whose size the launch gives;
// __syncwarp() is a barrier for one warp, behind which its lanes see what the others have written;
// a SharedAddress is the place of an element in shared memory, as load_matrices takes it.
//
// Task: the lane's row in both loads, and C, row-major, in c_out. Row r and column k of A are at
// tile[r * 16 + k], those of B at tile[256 + r * 16 + k].
//
// In the library: tensor/cuda/tensor_core.h, tensor/cuda/conv/implicit_gemm.cuh.
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
  // TODO: instead of 0 and 256 the indices of this lane's rows; after the product, c_out.
  gradus::cuda::load_matrices(ra, SharedAddress(&tile[0]));
  gradus::cuda::load_matrices(rb, SharedAddress(&tile[256]));
  gradus::cuda::multiply_add<BFloat16>(c, ra, rb[0], rb[1]);
}
