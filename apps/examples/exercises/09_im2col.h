// Exercise 09: a convolution as a matrix product.
//
// A convolution slides a kernel over an image. Write down what the kernel sees at each place as a
// row of a matrix, and the convolution is the product of that matrix with the weights; matrix
// products are the fastest code that any machine has. The matrix is called the column matrix, or
// the columns. For an image [height, width, channels] and a kernel of 3 x 3 with padding 1 it has a
// row for each pixel (y, x), of 3 * 3 * channels elements: for each ky and, within it, each kx in
// 0..2, the channels of the pixel (y + ky - 1, x + kx - 1), or zeros where that lies outside of the
// image.
//
// Task: the columns, [height * width, 9 * channels], row-major.
//
// In the library: tensor/cpu/conv/im2col.h.
#pragma once

#include <vector>

inline std::vector<float> im2col(const std::vector<float>& image, int height, int width,
                                 int channels) {
  // TODO: five loops; image[(y * width + x) * channels + c].
  return {};
}
