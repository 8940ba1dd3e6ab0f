// Wrong: each thread adds all elements.
// The checker says: where y is a itself, y\[0\] is
#pragma once

#include "tensor/cuda/shared_array.h"

__global__ void vector_add(const float* a, const float* b, float* y, int n) {
  for (int i = 0; i < n; ++i) y[i] = a[i] + b[i];
}
