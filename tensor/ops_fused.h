// Several operations of tensor/ops.h as one: fewer passes over memory, and no memory for what is in
// between. Each has the bits of the plain lines in its docstring, with three exceptions: what is
// not stored in between is not rounded to bfloat16 there; the compiler rounds the float sums of a
// masked gradient (batch_norm_relu_backward's dx and dgamma) at other places than those of a plain
// one; and on a GPU's tensor cores conv2d_with_statistics adds up in another order.
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

}  // namespace gradus
