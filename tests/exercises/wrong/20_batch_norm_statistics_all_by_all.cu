// Wrong: each thread adds up all rows.
// The checker says: no thread takes what another one added up
#pragma once

#include "tensor/cuda/shared_array.h"

using gradus::cuda::SharedArray;

__global__ void batch_norm_statistics(const float* x, float* mean, float* variance, int rows,
                                      int channels) {
  const int channel = static_cast<int>(blockIdx.x);
  float sum = 0, squares = 0;
  for (int row = 0; row < rows; ++row) sum += x[row * channels + channel];
  const float average = sum / static_cast<float>(rows);
  for (int row = 0; row < rows; ++row) {
    const float distance = x[row * channels + channel] - average;
    squares += distance * distance;
  }
  if (threadIdx.x != 0) return;
  mean[channel] = average;
  variance[channel] = squares / static_cast<float>(rows);
}
