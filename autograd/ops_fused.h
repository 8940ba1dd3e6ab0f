// Several operations as one (tensor/ops_fused.h) on Variables, with gradients.
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

/// [4], the VICReg loss of z [V, N, D] and its three terms: VICRegTerms::values.
Variable vicreg_terms(const Variable& z, const VICRegOptions& options = {});

}  // namespace gradus
