// Wrong: turns are not waited for.
// The checker says: depends on the order of threads
#pragma once

#include "tensor/cuda/shared_array.h"

using gradus::cuda::SharedArray;

__global__ void block_sums(const float* x, float* y) {
  __shared__ SharedArray<float, 256> partial;
  const int t = static_cast<int>(threadIdx.x);
  partial[t] = x[blockIdx.x * 256 + threadIdx.x];
  __syncthreads();
  for (int distance = 128; distance > 0; distance /= 2) {
    if (t < distance) partial[t] += partial[t + distance];
  }
  if (t == 0) y[blockIdx.x] = partial[0];
}
