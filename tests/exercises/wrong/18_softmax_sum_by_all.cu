// Wrong: lanes combine the largest, but each adds up the whole row.
// The checker says: a lane asks others 5 times
#pragma once

#include <cmath>

#include "tensor/cuda/shared_array.h"

__global__ void softmax(const float* x, float* y, int columns) {
  const float* row = x + blockIdx.x * static_cast<unsigned>(columns);
  float* out = y + blockIdx.x * static_cast<unsigned>(columns);
  const int lane = static_cast<int>(threadIdx.x);
  float largest = -INFINITY, sum = 0;
  for (int i = lane; i < columns; i += 32) largest = std::fmax(largest, row[i]);
  for (int distance = 16; distance > 0; distance /= 2)
    largest = std::fmax(largest, __shfl_xor_sync(0xFFFFFFFF, largest, distance));
  for (int i = 0; i < columns; ++i) sum += std::exp(row[i] - largest);
  for (int i = lane; i < columns; i += 32) out[i] = std::exp(row[i] - largest) / sum;
}
