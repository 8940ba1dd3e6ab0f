// Wrong: the largest begins at 0, though all of a row may be below it.
// The checker says: is nan
#pragma once

#include <cmath>

#include "tensor/cuda/shared_array.h"

__global__ void softmax(const float* x, float* y, int columns) {
  const float* row = x + blockIdx.x * static_cast<unsigned>(columns);
  float* out = y + blockIdx.x * static_cast<unsigned>(columns);
  const int lane = static_cast<int>(threadIdx.x);
  float largest = 0, sum = 0;
  for (int i = lane; i < columns; i += 32) largest = std::fmax(largest, row[i]);
  for (int distance = 16; distance > 0; distance /= 2)
    largest = std::fmax(largest, __shfl_xor_sync(0xFFFFFFFF, largest, distance));
  for (int i = lane; i < columns; i += 32) sum += std::exp(row[i] - largest);
  for (int distance = 16; distance > 0; distance /= 2)
    sum += __shfl_xor_sync(0xFFFFFFFF, sum, distance);
  for (int i = lane; i < columns; i += 32) out[i] = std::exp(row[i] - largest) / sum;
}
