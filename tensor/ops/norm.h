// What batch norm alone and with a residual and ReLU share. x [..., C], all of a channel [C].
#pragma once

#include <string_view>

#include <gradus/tensor/ops_fused.h>

namespace gradus {

void check_batch_norm(std::string_view op, const Tensor& x, const BatchStatistics& statistics,
                      const Tensor& gamma, const Tensor& beta, double eps);

/// One number a channel of x, of the type that parameters have beside x.
Tensor empty_channels(const Tensor& x);

/// batch_norm, then + residual if that is defined, then ReLU if asked for.
Tensor normalise(const Tensor& x, const BatchStatistics& statistics, const Tensor& gamma,
                 const Tensor& beta, double eps, const Tensor& residual, bool relu);
/// Its gradients; y and dresidual as in batch_norm_relu_backward, both undefined without ReLU.
BatchNormReluGradients normalise_backward(const Tensor& dy, const Tensor& x, const Tensor& y,
                                          const BatchStatistics& statistics, const Tensor& gamma,
                                          const Tensor& beta, const BatchNormOptions& options,
                                          bool relu);

}  // namespace gradus
