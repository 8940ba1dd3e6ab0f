// Exercise 07: the gradient of a matrix product.
//
// C = A B with A [m, k], B [k, n], so C_ij = sum_p A_ip B_pj. The loss L depends on C, and dC_ij is
// dL/dC_ij. A_ip takes part in all of row i of C: in C_ij it is multiplied by B_pj. By the chain
// rule, with ^T for the transpose,
//
//   dA_ip = sum_j dC_ij B_pj,   in short  dA = dC B^T
//   dB_pj = sum_i A_ip dC_ij,   in short  dB = A^T dC
//
// No need to learn it by heart: only one way of multiplying them gives the right shapes.
//
// Task: dA [m, k] and dB [k, n]. Matrices are row-major: A_ip is a[i * k + p].
//
// In the library: autograd/ops/matmul.cpp.
#pragma once

#include <vector>

struct MatmulGradients {
  std::vector<float> da, db;
};

inline MatmulGradients matmul_backward(const std::vector<float>& dc, const std::vector<float>& a,
                                       const std::vector<float>& b, int m, int k, int n) {
  // TODO
  return {};
}
