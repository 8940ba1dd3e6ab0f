// Several operations of tensor/ops.h as one: fewer passes over memory, and no memory for what is in
// between. Each has the bits of the plain lines in its docstring, with three exceptions: what is
// not stored in between is not rounded to bfloat16 there; the compiler rounds the float sums of a
// masked gradient (batch_norm_relu_backward's dx and dgamma) at other places than those of a plain
// one; and vicreg_terms, and on a GPU's tensor cores conv2d_with_statistics, add up in another
// order.
// autograd/ops_fused.h has them on Variables.
#pragma once

#include <gradus/tensor/ops.h>

namespace gradus {

/// y = batch_norm(x, statistics, gamma, beta, options);
/// relu(residual ? y + residual : y)
Tensor batch_norm_relu(const Tensor& x, const BatchStatistics& statistics, const Tensor& gamma,
                       const Tensor& beta, const BatchNormOptions& options = {},
                       const Tensor& residual = {});
/// dL/d each input of batch_norm_relu for dy = dL/dy.
struct BatchNormReluGradients {
  Tensor dx, dgamma, dbeta, dresidual;
};
/// y is the result where a residual was added; otherwise it is undefined, as dresidual is then, and
/// the ReLU's mask is computed from x again. dresidual, or without it dx, takes the memory of a dy
/// that has no other handle. Where y is given, dL/dy may come in two terms, dy + dy2; then dx takes
/// the memory of dy2 likewise.
BatchNormReluGradients batch_norm_relu_backward(Tensor dy, const Tensor& x, const Tensor& y,
                                                const BatchStatistics& statistics,
                                                const Tensor& gamma, const Tensor& beta,
                                                const BatchNormOptions& options = {},
                                                Tensor dy2 = {});

/// Whether an output of these functions that is read once more in backward is better computed again
/// there than kept, as that device's back end sees it.
bool recomputation_pays(Device device);

/// An output and the statistics of its channels, for the batch norm that follows.
template <class T>
struct WithStatistics {
  T output;
  BatchStatistics statistics;  ///< undefined where they were not taken
};
/// y = conv2d(input, weight, {}, options);
/// {y, batch_norm_statistics(y)}
WithStatistics<Tensor> conv2d_with_statistics(const Tensor& input, const Tensor& weight,
                                              const Conv2dOptions& options = {});

/// Weights of the VICReg loss's three terms (nn/vicreg_loss.h). Those of variance and covariance
/// are sums over two views; the authors' code takes the mean of the variance's: its weight 25 is
/// 12.5 here.
struct VICRegOptions {
  double invariance = 25;
  double variance = 25;
  double covariance = 1;
  double eps = 1e-4;  ///< in the standard deviation; finite, not negative; with 0 a constant
                      ///< dimension has a gradient of NaN, though the loss is finite
};
/// What vicreg_terms computes, and what its backward reads beside z.
struct VICRegTerms {
  Tensor values;       ///< [4]: total, invariance, variance, covariance
  Tensor centred;      ///< [V, N, D]: z less its mean over N
  Tensor inverse_std;  ///< [V, D], where the standard deviation is below 1; 0 elsewhere
  Tensor scatter;      ///< [V, D, D]: centred^T centred, with zeros for its diagonals
};
/// The VICReg loss of embeddings z [V, N, D], V and N at least 2, in float32 or float64, as
/// nn/vicreg_loss.h has it.
VICRegTerms vicreg_terms(const Tensor& z, const VICRegOptions& options = {});
/// dL/dz for dvalues [4] = dL/dvalues.
Tensor vicreg_terms_backward(const Tensor& dvalues, const Tensor& z, const VICRegTerms& terms,
                             const VICRegOptions& options = {});

}  // namespace gradus
