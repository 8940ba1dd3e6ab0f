// A solution of exercise 07: the gradient of a matrix product.
#pragma once

#include <vector>

struct MatmulGradients {
  std::vector<float> da, db;
};

inline MatmulGradients matmul_backward(const std::vector<float>& dc, const std::vector<float>& a,
                                       const std::vector<float>& b, int m, int k, int n) {
  MatmulGradients g{std::vector<float>(a.size()), std::vector<float>(b.size())};
  for (int i = 0; i < m; ++i)
    for (int p = 0; p < k; ++p)
      for (int j = 0; j < n; ++j) {
        g.da[i * k + p] += dc[i * n + j] * b[p * n + j];
        g.db[p * n + j] += a[i * k + p] * dc[i * n + j];
      }
  return g;
}
