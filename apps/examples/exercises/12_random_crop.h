// Exercise 12: where to crop an image.
//
// A random resized crop cuts a rectangle out of an image: its area is a random share of the
// image's, its shape (width / height) is random between 3/4 and 4/3, and so is its place. The shape
// is drawn by its logarithm, so that 3/4 and 4/3, the same rectangle on its side, are as likely.
// Given uniform numbers u[0..3] in [0, 1):
//
//   area  = height * width * (0.2 + 0.8 u[0])
//   ratio = exp(log(3/4) + (log(4/3) - log(3/4)) u[1])      (in C++ 3.0 / 4: 3 / 4 is 0)
//   w = round(sqrt(area * ratio)),  h = round(sqrt(area / ratio))
//   top  = floor(u[2] * (height - h + 1)),  left = floor(u[3] * (width - w + 1))
//
// Task: the crop; Crop{} where the rectangle does not fit, w > width or h > height (the caller
// draws again).
//
// In the library: data/augment.cpp.
#pragma once

#include <array>
#include <cmath>

struct Crop {
  int top = 0, left = 0, h = 0, w = 0;
};

inline Crop random_crop(int height, int width, const std::array<double, 4>& u) {
  // TODO
  return {};
}
