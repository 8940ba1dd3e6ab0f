// Several operations as one, on Variables, with gradients: tensor/ops_fused.h's, and one that keeps
// less for backward.
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

/// Variable y = batch_norm_relu(x, statistics, gamma, beta, norm_options);
/// conv2d(y, weight, {}, options)
///
/// y is not kept for backward but computed again there.
Variable batch_norm_relu_conv2d(const Variable& x, const BatchStatistics& statistics,
                                const Variable& gamma, const Variable& beta,
                                const BatchNormOptions& norm_options, const Variable& weight,
                                const Conv2dOptions& options = {});

}  // namespace gradus
