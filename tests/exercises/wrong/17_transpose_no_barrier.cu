// Wrong: the tile is read before it is filled.
// The checker says: before this block wrote it
#pragma once

#include "tensor/cuda/shared_array.h"

using gradus::cuda::SharedArray;

__global__ void transpose(const float* x, float* y, int rows, int columns) {
  __shared__ SharedArray<float, 32 * 33> tile;
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  const int left = static_cast<int>(blockIdx.x) * 32, top = static_cast<int>(blockIdx.y) * 32;
  if (top + ty < rows && left + tx < columns)
    tile[ty * 33 + tx] = x[(top + ty) * columns + left + tx];
  if (left + ty < columns && top + tx < rows) y[(left + ty) * rows + top + tx] = tile[tx * 33 + ty];
}
