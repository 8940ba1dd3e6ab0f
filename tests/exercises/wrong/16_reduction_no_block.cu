// Wrong: all blocks add the numbers of the first.
// The checker says: y\[1\] is
#pragma once

#include "tensor/cuda/shared_array.h"

using gradus::cuda::SharedArray;

__global__ void block_sums(const float* x, float* y) {
  __shared__ SharedArray<float, 256> partial;
  const int t = static_cast<int>(threadIdx.x);
  partial[t] = x[t];
  __syncthreads();
  for (int distance = 128; distance > 0; distance /= 2) {
    if (t < distance) partial[t] += partial[t + distance];
    __syncthreads();
  }
  if (t == 0) y[blockIdx.x] = partial[0];
}
