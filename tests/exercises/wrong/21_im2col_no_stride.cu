// Wrong: there are fewer threads than elements.
// The checker says: columns\[128\] is nan
#pragma once

#include "tensor/cuda/shared_array.h"

__global__ void im2col(const float* image, float* columns, int height, int width, int channels) {
  const int count = height * width * 9 * channels;
  for (int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); i < count; i += count) {
    const int channel = i % channels, kx = i / channels % 3, ky = i / channels / 3 % 3;
    const int pixel = i / channels / 9;
    const int row = pixel / width + ky - 1, column = pixel % width + kx - 1;
    const bool inside = row >= 0 && row < height && column >= 0 && column < width;
    columns[i] = inside ? image[(row * width + column) * channels + channel] : 0.0f;
  }
}
