// Wrong: one thread adds, the others wait.
// The checker says: goes to shared memory [0-9]+ times
#pragma once

#include "tensor/cuda/shared_array.h"

using gradus::cuda::SharedArray;

__global__ void block_sums(const float* x, float* y) {
  __shared__ SharedArray<float, 256> partial;
  const int t = static_cast<int>(threadIdx.x);
  partial[t] = x[blockIdx.x * 256 + threadIdx.x];
  __syncthreads();
  if (t == 0) {
    float sum = 0;
    for (int i = 0; i < 256; ++i) sum += partial[i];
    y[blockIdx.x] = sum;
  }
}
