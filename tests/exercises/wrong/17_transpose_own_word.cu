// Wrong: each thread takes out of the tile what it has put in itself, and the writes to y jump.
// The checker says: threads take 0 numbers out of the tile that others put in, of 2800
#pragma once

#include "tensor/cuda/shared_array.h"

using gradus::cuda::SharedArray;

__global__ void transpose(const float* x, float* y, int rows, int columns) {
  __shared__ SharedArray<float, 32 * 33> tile;
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  const int row = static_cast<int>(blockIdx.y) * 32 + ty;
  const int column = static_cast<int>(blockIdx.x) * 32 + tx;
  const bool inside = row < rows && column < columns;
  if (inside) tile[ty * 33 + tx] = x[row * columns + column];
  __syncthreads();
  if (inside) y[column * rows + row] = tile[ty * 33 + tx];
}
