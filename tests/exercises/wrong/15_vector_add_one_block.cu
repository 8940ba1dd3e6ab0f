// Wrong: the block is left out of the number.
// The checker says: y\[256\] is nan
#pragma once

#include "tensor/cuda/shared_array.h"

__global__ void vector_add(const float* a, const float* b, float* y, int n) {
  const int i = static_cast<int>(threadIdx.x);
  if (i < n) y[i] = a[i] + b[i];
}
