// Exercise 16: a sum that all threads of a block work on.
//
// Do exercise 15 first, which says what threads and blocks are. Threads of a block talk through
// shared memory: an array that is __shared__ exists once for each block. They run in any order, so
// there must be a barrier between writing and reading: a thread that comes to __syncthreads() waits
// there until all threads of its block have come, and what any of them wrote before it, all can
// read after it.
//
// To add up 256 numbers, let each thread t = threadIdx.x put one into shared memory. Then halve:
// threads 0..127 add the number 128 places on to their own, threads 0..63 that 64 places on, and so
// on; after eight turns element 0 is the sum. A barrier stands before the first turn and after
// each.
//
// Task: y[b] = the sum of x[256 b] .. x[256 b + 255] for block b of 256 threads. All threads of the
// block must come to each __syncthreads(), also those that have nothing to add.
//
// In the library: tensor/cuda/warp.h (column_sum), tensor/cuda/reduce.cu.
#pragma once

#include "tensor/cuda/shared_array.h"

using gradus::cuda::SharedArray;

__global__ void block_sums(const float* x, float* y) {
  // In plain CUDA: __shared__ float partial[256]. The emulated GPU checks each access to this one;
  // write `float v = partial[t]`, not `auto v`.
  __shared__ SharedArray<float, 256> partial;
  // TODO: write partial[t], wait, halve eight times; thread 0 writes y[blockIdx.x].
}
