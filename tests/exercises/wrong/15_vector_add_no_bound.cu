// Wrong: threads beyond n write, too.
// The checker says: memory right behind
#pragma once

#include "tensor/cuda/shared_array.h"

__global__ void vector_add(const float* a, const float* b, float* y, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  y[i] = a[i] + b[i];
}
