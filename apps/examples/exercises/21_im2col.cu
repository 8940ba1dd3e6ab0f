// Exercise 21: the columns of a convolution, on the GPU.
//
// Exercise 09 wrote down, for each pixel (y, x), what a 3 x 3 kernel with padding 1 sees there, as
// the columns [height * width, 9 * channels]. Here there may be fewer threads than elements of the
// columns. Each thread writes the elements i, i + threads, i + 2 threads and so on, where threads
// is the number of all threads, gridDim.x * blockDim.x, and i that of this one among them. From an
// element's number it finds out which it is: for i the channel is i % channels, then kx, then ky,
// then the pixel, each by a division and a remainder. Neighbouring threads then read and write
// neighbouring addresses.
//
// Task: the columns of image [height, width, channels].
//
// In the library: tensor/cuda/conv/im2col.cuh, for any convolution. Where the tensor cores multiply
// (implicit_gemm_patches.cuh) a block makes only its part of the columns, in shared memory, and
// multiplies it there: they are never written out.
#pragma once

#include "tensor/cuda/shared_array.h"

__global__ void im2col(const float* image, float* columns, int height, int width, int channels) {
  // TODO: a loop over i; channel, kx, ky, x, y of it; a zero where the pixel lies outside.
}
