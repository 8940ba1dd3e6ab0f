// Wrong: it goes without the tile.
// The checker says: threads take 0 numbers out of the tile that others put in, of 2800
#pragma once

#include "tensor/cuda/shared_array.h"

using gradus::cuda::SharedArray;

__global__ void transpose(const float* x, float* y, int rows, int columns) {
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  const int left = static_cast<int>(blockIdx.x) * 32, top = static_cast<int>(blockIdx.y) * 32;
  if (top + ty < rows && left + tx < columns)
    y[(left + tx) * rows + top + ty] = x[(top + ty) * columns + left + tx];
}
