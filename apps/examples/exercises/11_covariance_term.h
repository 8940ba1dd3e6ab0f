// Exercise 11: VICReg's covariance term, with its gradient.
//
// Spread is not enough: all dimensions could say the same. With c = z minus the mean of each
// dimension, the covariance of dimensions j and k is C_jk = 1/(n - 1) sum_i c_ij c_ik, and
//
//   loss  = 1/d sum over j != k of C_jk^2
//   dz_ij = 4 / (d (n - 1)) sum over k != j of C_jk c_ik
//
// (the 4: a 2 from the square, a 2 because C_jk and C_kj are the same; the mean needs no care,
// because the columns of c add up to 0).
//
// Task: the loss and its gradient for z [n, d]; z_ij is z[i * d + j].
//
// In the library: tensor/ops/vicreg.cpp, where the sums of both are matrix products, and
// tensor/backend/vicreg.h (VICRegGradient).
#pragma once

#include <vector>

struct Term {
  float loss = 0;
  std::vector<float> dz;  // [n, d]
};

inline Term covariance_term(const std::vector<float>& z, int n, int d) {
  // TODO: c [n, d]; C [d, d]; the loss without the diagonal; dz.
  return {0, std::vector<float>(z.size())};
}
