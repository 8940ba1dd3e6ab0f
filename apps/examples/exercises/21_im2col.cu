// Exercise 21: the columns of a convolution, on the GPU.
//
// Exercise 09 wrote down, for each pixel (y, x), what a 3 x 3 kernel with padding 1 sees there.
// Here each thread writes one element of the columns [height * width, 9 * channels]. From its
// number i it finds out which: the channel is i % channels, then kx, then ky, then the pixel, each
// by a division and a remainder. Neighbouring threads then read and write neighbouring addresses.
//
// Task: element i of the columns of image [height, width, channels]. There may be fewer threads
// than elements: each strides on by the number of threads, gridDim.x * blockDim.x.
//
// In the library: tensor/cuda/conv/im2col.cuh, for any convolution. Where the tensor cores multiply
// (implicit_gemm_patches.cuh) a block makes only its part of the columns, in shared memory, and
// multiplies it there: they are never written out.
#pragma once

#include "tensor/cuda/shared_array.h"

__global__ void im2col(const float* image, float* columns, int height, int width, int channels) {
  // TODO: a loop over i; channel, kx, ky, x, y of it; a zero where the pixel lies outside.
}
