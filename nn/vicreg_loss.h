// The VICReg loss: Bardes, Ponce and LeCun, "VICReg: Variance-Invariance-Covariance Regularization
// for Self-Supervised Learning", ICLR 2022.
#pragma once

#include <gradus/autograd/variable.h>
#include <gradus/tensor/communicator.h>
#include <gradus/tensor/ops_fused.h>

namespace gradus::nn {

using gradus::VICRegOptions;

/// What vicreg_loss computes, scalars of shape [].
struct VICRegLoss {
  Variable total;                             ///< the weighted sum
  Variable invariance, variance, covariance;  ///< unweighted
};

/// For embeddings z [V N, D] of V views of the same N images, N >= 2, V >= 2; view v of image n is
/// row v N + n, and z_v is the [N, D] of one view:
///
///   invariance = mean over pairs of views of 1/(N D) sum_ij (z_v - z_w)_ij^2
///              = 2 / (V - 1) sum_v 1/(N D) sum_ij (z_v - mean over views)_ij^2
///   variance   = 2 / V sum_v v(z_v),  v(z) = 1/D sum_j max(0, 1 - sqrt(Var_j(z) + eps))
///   covariance = 2 / V sum_v c(z_v),  c(z) = 1/D sum_{j != k} C_jk^2
///   C          = (z - mean)^T (z - mean) / (N - 1), Var_j = C_jj
///   total      = the sum of the terms, each times its weight
///
/// With two views that is the loss of the paper's Algorithm 1 (its formula of the invariance lacks
/// the 1/D); with more, each term keeps its size.
///
/// With a communicator z is this member's part of the batch, as many images as each other member
/// has, and the loss is that of the whole batch, the same for all. They exchange the images'
/// embeddings or, where there are more images than dimensions, sums: of D, and of C.
VICRegLoss vicreg_loss(const Variable& z, std::int64_t views, const VICRegOptions& options = {},
                       Communicator* communicator = nullptr);

}  // namespace gradus::nn
