// Wrong: the image is read where there is none, too.
// The checker says: the program died
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
          for (int c = 0; c < channels; ++c)
            columns.push_back(image[(row * width + column) * channels + c]);
        }
  return columns;
}
