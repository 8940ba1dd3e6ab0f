// Exercise 10: VICReg's variance term, with its gradient.
//
// Embeddings z [n, d] of n images must not all become the same point. For each dimension j let s_j
// be the square root of (variance_j + eps), the variance dividing by n - 1. A dimension that
// spreads too little, s_j < 1, is penalised:
//
//   loss    = 1/d sum_j max(0, 1 - s_j)
//   dz_ij   = -(z_ij - mean_j) / (d (n - 1) s_j)  where s_j < 1, else 0
//
// A step against the gradient moves each z_ij away from the mean.
//
// Task: the loss and its gradient, with eps = 1e-4. z_ij is z[i * d + j].
//
// In the library: tensor/backend/vicreg.h (StdHinge, VICRegGradient), tensor/cpu/vicreg.cpp. In
// nn/vicreg_loss.cpp there is also a form without a gradient of its own: autograd derives it.
#pragma once

#include <cmath>
#include <vector>

struct Term {
  float loss = 0;
  std::vector<float> dz;  // [n, d]
};

inline Term variance_term(const std::vector<float>& z, int n, int d) {
  // TODO: for each dimension the mean, s_j, the loss, and a column of dz.
  return {0, std::vector<float>(z.size())};
}
