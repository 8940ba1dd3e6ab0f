// Wrong: the crop may be wider than the image.
// The checker says: of 48 rows and 32 columns, number\[2\] is 39, expected 0
#pragma once

#include <array>
#include <cmath>

struct Crop {
  int top = 0, left = 0, h = 0, w = 0;
};

inline Crop random_crop(int height, int width, const std::array<double, 4>& u) {
  const double area = height * width * (0.2 + 0.8 * u[0]);
  const double low = std::log(0.75), high = std::log(4.0 / 3);
  const double ratio = std::exp(low + (high - low) * u[1]);
  const int w = static_cast<int>(std::round(std::sqrt(area * ratio)));
  const int h = static_cast<int>(std::round(std::sqrt(area / ratio)));
  if (h > height) return {};
  return {static_cast<int>(u[2] * (height - h + 1)), static_cast<int>(u[3] * (width - w + 1)), h,
          w};
}
