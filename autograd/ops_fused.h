// The operations of tensor/ops_fused.h on Variables, with gradients. They run on any device: as one
// where its back end can, else as the plain lines in their docstrings.
#pragma once

#include <gradus/autograd/ops.h>
#include <gradus/tensor/ops_fused.h>

namespace gradus {

/// Variable y = batch_norm(x, statistics, gamma, beta, options);
/// relu(residual ? y + residual : y)
Variable batch_norm_relu(const Variable& x, const BatchStatistics& statistics,
                         const Variable& gamma, const Variable& beta,
                         const BatchNormOptions& options = {}, const Variable& residual = {});

/// Variable y = conv2d(input, weight, {}, options);
/// {y, batch_norm_statistics(y.value())}
WithStatistics<Variable> conv2d_with_statistics(const Variable& input, const Variable& weight,
                                                const Conv2dOptions& options = {});

/// Variable y = batch_norm_relu(x, statistics, gamma, beta, {eps});
/// conv2d_with_statistics(y, weight, options)
///
/// As one, y is not kept for backward but computed again there.
WithStatistics<Variable> batch_norm_relu_conv2d(const Variable& x,
                                                const BatchStatistics& statistics,
                                                const Variable& gamma, const Variable& beta,
                                                double eps, const Variable& weight,
                                                const Conv2dOptions& options = {});

}  // namespace gradus
