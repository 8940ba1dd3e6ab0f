// Exercise 20: mean and variance of each channel.
//
// Batch norm needs, for x [rows, channels], the mean and the variance (divided by rows) of each
// channel. The formula mean(x^2) - mean(x)^2 needs one pass, but where the mean is large it is the
// difference of two nearly equal numbers, and all digits are lost. So take two passes: the mean,
// then the mean of (x - mean)^2.
//
// Task: both, for channel blockIdx.x, by a block of 128 threads; thread 0 writes them. Thread t
// takes rows t, t + 128, t + 256 and so on. Complete sum_of_block first (__device__ marks a
// function that kernels call): it adds up the values of all threads and gives each of them the sum.
// It is used twice, so nobody may write `partial` again while another still reads it.
//
// In the library: tensor/cuda/norm, in one pass over memory: each part's mean and variance, of a
// few rows in registers, are merged with the others' (moments.h).
#pragma once

#include "tensor/cuda/shared_array.h"

using gradus::cuda::SharedArray;

__device__ inline float sum_of_block(float value, SharedArray<float, 128>& partial) {
  // TODO: as in exercise 16, but all threads return partial[0].
  return value;
}

__global__ void batch_norm_statistics(const float* x, float* mean, float* variance, int rows,
                                      int channels) {
  // TODO: __shared__ SharedArray<float, 128> partial; the sum of this thread's rows, sum_of_block,
  // the mean; the same for the squares.
}
