// The VICReg loss: Bardes, Ponce and LeCun, "VICReg: Variance-Invariance-Covariance Regularization
// for Self-Supervised Learning", ICLR 2022.
#pragma once

#include <gradus/autograd/variable.h>

namespace gradus::nn {

/// Weights of the three terms below, which sum over both views. The paper averages the variance
/// term over the views, and so has half its weight here.
struct VICRegOptions {
  double invariance = 25;
  double variance = 25;
  double covariance = 1;
  double eps = 1e-4;  ///< in the standard deviation; finite, not negative; with 0 a constant
                      ///< dimension has an infinite gradient
};

struct VICRegLoss {
  Variable total;                             ///< the weighted sum
  Variable invariance, variance, covariance;  ///< unweighted
};

/// For embeddings z1 and z2 [N, D] of two views of the same N images, N >= 2:
///
///   invariance = 1/(N D) sum_ij (z1_ij - z2_ij)^2
///   variance   = v(z1) + v(z2),  v(z) = 1/D sum_j max(0, 1 - sqrt(Var_j(z) + eps))
///   covariance = c(z1) + c(z2),  c(z) = 1/D sum_{j != k} C_jk^2
///   C          = (z - mean)^T (z - mean) / (N - 1), Var_j = C_jj
///   total      = weights . terms; all scalars of shape []
VICRegLoss vicreg_loss(const Variable& z1, const Variable& z2, const VICRegOptions& options = {});

}  // namespace gradus::nn
