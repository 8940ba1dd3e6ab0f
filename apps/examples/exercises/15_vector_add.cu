// Exercise 15: a first kernel.
//
// A kernel, marked __global__, is a function that a GPU runs in many threads at once. They form
// gridDim.x blocks of blockDim.x threads each (blocks and threads may be counted along three axes,
// .x, .y and .z; here it is one). A thread knows its place, threadIdx.x in its block and blockIdx.x
// of its block, so each has a number of its own: blockIdx.x * blockDim.x + threadIdx.x (which is
// unsigned: store it in an int). The checker starts at least n threads. Blocks are all of one size,
// so mostly there are some threads too many. a, b and y lie in global memory, which all threads
// see.
//
// Task: y[i] = a[i] + b[i] for i = 0 .. n - 1, each i by one thread.
//
// In the library: tensor/cuda/map.h.
#pragma once

#include "tensor/cuda/shared_array.h"  // __global__, threadIdx and so on, without nvcc

__global__ void vector_add(const float* a, const float* b, float* y, int n) {
  // TODO: this thread's number; nothing to do where it is n or more.
}
