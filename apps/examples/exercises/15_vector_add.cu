// Exercise 15: a first kernel.
//
// A kernel is a function that a GPU runs in many threads at once. They form blocks of blockDim.x
// threads, and gridDim.x blocks; a thread knows its place by threadIdx.x within its block and
// blockIdx.x, so each has a number of its own: blockIdx.x * blockDim.x + threadIdx.x. The checker
// starts at least n threads. Blocks are all of one size, so mostly there are some threads too many.
//
// Task: y[i] = a[i] + b[i] for i = 0 .. n - 1.
//
// In the library: tensor/cuda/map.h.
#pragma once

#include "tensor/cuda/shared_array.h"

__global__ void vector_add(const float* a, const float* b, float* y, int n) {
  // TODO: this thread's number; nothing to do where it is beyond n.
}
