// A solution of exercise 01: strides and broadcasting.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

inline std::vector<float> broadcast_add(const std::vector<float>& a, std::array<int, 2> a_shape,
                                        const std::vector<float>& b, std::array<int, 2> b_shape) {
  const int rows = std::max(a_shape[0], b_shape[0]), columns = std::max(a_shape[1], b_shape[1]);
  const auto strides = [](std::array<int, 2> shape) {
    return std::array<int, 2>{shape[0] == 1 ? 0 : shape[1], shape[1] == 1 ? 0 : 1};
  };
  const auto sa = strides(a_shape), sb = strides(b_shape);
  std::vector<float> y;
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; ++j)
      y.push_back(a[i * sa[0] + j * sa[1]] + b[i * sb[0] + j * sb[1]]);
  return y;
}
