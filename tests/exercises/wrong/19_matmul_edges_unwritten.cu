// Wrong: the tiles are not filled where A or B has ended.
// The checker says: before this block wrote it
#pragma once

#include "tensor/cuda/shared_array.h"

using gradus::cuda::SharedArray;

__global__ void matmul(const float* a, const float* b, float* c, int m, int k, int n) {
  __shared__ SharedArray<float, 256> tile_a;
  __shared__ SharedArray<float, 256> tile_b;
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  const int row = static_cast<int>(blockIdx.y) * 16 + ty;
  const int column = static_cast<int>(blockIdx.x) * 16 + tx;
  float sum = 0;
  for (int first = 0; first < k; first += 16) {
    const bool in_a = row < m && first + tx < k, in_b = first + ty < k && column < n;
    if (in_a) tile_a[ty * 16 + tx] = a[row * k + first + tx];
    if (in_b) tile_b[ty * 16 + tx] = b[(first + ty) * n + column];
    __syncthreads();
    for (int p = 0; p < 16; ++p) sum += tile_a[ty * 16 + p] * tile_b[p * 16 + tx];
    __syncthreads();
  }
  if (row < m && column < n) c[row * n + column] = sum;
}
