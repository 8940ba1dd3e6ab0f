// Exercise 19: a matrix product by tiles.
//
// C = A B, A [m, k], B [k, n]. With a thread for each element of C that reads a row of A and a
// column of B, each number is fetched from memory again and again. A block of 16 x 16 threads
// computes a tile of C and needs 16 rows of A and 16 columns of B, so let it walk along k in steps
// of 16: all threads together bring a tile of A and one of B into shared memory; after a barrier
// each adds 16 products to its sum; after another one (a faster thread must not overwrite what a
// slower one still reads) they go on. Each number is fetched once a block: 16 times less traffic.
//
// Task: C by such tiles. Sizes need not be multiples of 16: what lies outside counts as zero.
//
// In the library: tensor/cuda/conv/implicit_gemm.cuh, on the tensor cores; apps/bench/conv_ladder
// goes there step by step. Plain products are left to NVIDIA's cuBLAS (tensor/cuda/gemm).
#pragma once

#include "tensor/cuda/shared_array.h"

using gradus::cuda::SharedArray;

__global__ void matmul(const float* a, const float* b, float* c, int m, int k, int n) {
  // In plain CUDA: __shared__ float tile_a[256]; write `float v = tile_a[i]`, not `auto v`.
  __shared__ SharedArray<float, 256> tile_a;
  __shared__ SharedArray<float, 256> tile_b;
  // TODO: row and column of C from blockIdx and threadIdx (y: row, x: column); walk along k.
}
