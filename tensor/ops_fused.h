// Several operations of tensor/ops.h as one: fewer passes over memory, and no memory for what is in
// between. Each has the bits of the plain lines in its docstring, with two exceptions: what is not
// stored in between is not rounded to bfloat16 there; and the compiler rounds the float sums of a
// masked gradient (batch_norm_relu_backward's dx and dgamma) at other places than those of a plain
// one. autograd/ops_fused.h has them on Variables.
#pragma once

#include <gradus/tensor/ops.h>

namespace gradus {

/// y = batch_norm(x, statistics, gamma, beta, options);
/// relu(residual ? y + residual : y)
Tensor batch_norm_relu(const Tensor& x, const BatchStatistics& statistics, const Tensor& gamma,
                       const Tensor& beta, const BatchNormOptions& options = {},
                       const Tensor& residual = {});
struct BatchNormReluGradients {
  Tensor dx, dgamma, dbeta, dresidual;
};
/// y is the result where a residual was added; otherwise it is undefined, as dresidual is then, and
/// the ReLU's mask is computed from x again.
BatchNormReluGradients batch_norm_relu_backward(const Tensor& dy, const Tensor& x, const Tensor& y,
                                                const BatchStatistics& statistics,
                                                const Tensor& gamma, const Tensor& beta,
                                                const BatchNormOptions& options = {});

}  // namespace gradus
