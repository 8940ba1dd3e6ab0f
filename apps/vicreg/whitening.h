// Whitening of frozen features: the same variance in every direction.
#pragma once

#include <gradus/tensor/tensor.h>

namespace gradus::vicreg {

/// y = (x - mean) W^T, so that the features y of the training images have the covariance c I, c the
/// mean variance of the features x: with C their covariance and C + 0.001 c I = L L^T,
/// W = sqrt(c) L^-1. (By a rotation it is any other whitening, which a linear classifier or a
/// cosine doesn't see; what is added keeps directions without variance from being blown up.)
struct Whitening {
  Tensor mean{};    ///< [1, F]
  Tensor matrix{};  ///< W [F, F]

  /// x [N, F] -> y [N, F], on the device of the features it was fitted to.
  Tensor operator()(const Tensor& x) const;
};

/// Fits x [N, F] float32, N >= 2, F >= 1, finite, of any size. Costs a Cholesky decomposition of
/// size F on the CPU.
Whitening fit_whitening(const Tensor& x);

}  // namespace gradus::vicreg
