// A solution of exercise 09: a convolution as a matrix product.
#pragma once

#include <vector>

inline std::vector<float> im2col(const std::vector<float>& image, int height, int width,
                                 int channels) {
  std::vector<float> columns;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int ky = 0; ky < 3; ++ky)
        for (int kx = 0; kx < 3; ++kx) {
          const int row = y + ky - 1, column = x + kx - 1;
          const bool inside = row >= 0 && row < height && column >= 0 && column < width;
          for (int c = 0; c < channels; ++c)
            columns.push_back(inside ? image[(row * width + column) * channels + c] : 0.0f);
        }
  return columns;
}
