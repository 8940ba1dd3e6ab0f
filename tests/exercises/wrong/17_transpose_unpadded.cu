// Wrong: the columns of the tile lie in one bank.
// The checker says: [0-9]+ bank conflicts
#pragma once

#include "tensor/cuda/shared_array.h"

using gradus::cuda::SharedArray;

__global__ void transpose(const float* x, float* y, int rows, int columns) {
  __shared__ SharedArray<float, 32 * 32> tile;
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  const int left = static_cast<int>(blockIdx.x) * 32, top = static_cast<int>(blockIdx.y) * 32;
  if (top + ty < rows && left + tx < columns)
    tile[ty * 32 + tx] = x[(top + ty) * columns + left + tx];
  __syncthreads();
  if (left + ty < columns && top + tx < rows) y[(left + ty) * rows + top + tx] = tile[tx * 32 + ty];
}
