// Wrong: each lane goes through the whole row.
// The checker says: a lane asks others 0 times
#pragma once

#include <cmath>

#include "tensor/cuda/shared_array.h"

__global__ void softmax(const float* x, float* y, int columns) {
  const float* row = x + blockIdx.x * static_cast<unsigned>(columns);
  float* out = y + blockIdx.x * static_cast<unsigned>(columns);
  float largest = -INFINITY, sum = 0;
  for (int i = 0; i < columns; ++i) largest = std::fmax(largest, row[i]);
  for (int i = 0; i < columns; ++i) sum += std::exp(row[i] - largest);
  for (int i = static_cast<int>(threadIdx.x); i < columns; i += 32)
    out[i] = std::exp(row[i] - largest) / sum;
}
