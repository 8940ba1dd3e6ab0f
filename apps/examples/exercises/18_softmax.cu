// Exercise 18: a softmax by one warp.
//
// The 32 threads (lanes) of a warp run together and can read each other's registers, where their
// variables are: __shfl_xor_sync(0xFFFFFFFF, value, distance) gives the `value` of the lane whose
// number is (own number xor distance). If each lane combines it with its own, at distances 16, 8,
// 4, 2 and 1, then each has combined the values of all 32, without shared memory or barriers. The
// mask 0xFFFFFFFF has a bit for each lane that takes part: all must, also those with no element.
//
// Task: row blockIdx.x of y = softmax of that row of x [rows, columns], by a block of one warp:
// y_i = exp(x_i - largest) / sum_j exp(x_j - largest), where the largest is the row's (exercise 02
// says why). Lane l takes elements l, l + 32, l + 64, ...: first their largest, combined over the
// warp; then their sum of exp(x - largest), combined; then it writes their y_i.
//
// In the library: tensor/cuda/softmax.cu, tensor/cuda/warp.h.
#pragma once

#include <cmath>

#include "tensor/cuda/shared_array.h"

__global__ void softmax(const float* x, float* y, int columns) {
  // TODO: start the largest at -INFINITY: a lane may have no element, and all may be below 0.
}
