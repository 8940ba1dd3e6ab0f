#include <gradus/autograd/ops_fused.h>
#include "shared.h"

namespace gradus {

Variable batch_norm_relu(const Variable& x, const BatchStatistics& statistics,
                         const Variable& gamma, const Variable& beta,
                         const BatchNormOptions& options, const Variable& residual) {
  Tensor y = batch_norm_relu(x.value(), statistics, gamma.value(), beta.value(), options,
                             residual.value());
  const SavedTensor saved_y = residual.defined() ? y : Tensor();
  return make_variable("batch_norm_relu", std::move(y), {&x, &gamma, &beta, &residual},
                       [saved = SavedNorm(x, statistics, gamma, beta), saved_y,
                        options](const Tensor& dy) -> std::vector<Tensor> {
                         const SavedNorm::Values in = saved.get();
                         auto [dx, dgamma, dbeta, dresidual] = batch_norm_relu_backward(
                             dy, in.x, saved_y.get(), in.statistics, in.gamma, in.beta, options);
                         return {dx, dgamma, dbeta, dresidual};
                       });
}

WithStatistics<Variable> conv2d_with_statistics(const Variable& input, const Variable& weight,
                                                const Conv2dOptions& options) {
  auto [y, statistics] = conv2d_with_statistics(input.value(), weight.value(), options);
  return {conv2d_variable(std::move(y), input, weight, {}, options), statistics};
}

WithStatistics<Variable> batch_norm_relu_conv2d(const Variable& x,
                                                const BatchStatistics& statistics,
                                                const Variable& gamma, const Variable& beta,
                                                double eps, const Variable& weight,
                                                const Conv2dOptions& options) {
  if (!fuses_batch_norm_conv2d(x.device())) {
    const Variable y = batch_norm_relu(x, statistics, gamma, beta, {.eps = eps});
    return conv2d_with_statistics(y, weight, options);
  }
  auto [y, y_statistics] = batch_norm_relu_conv2d(x.value(), statistics, gamma.value(),
                                                  beta.value(), eps, weight.value(), options);
  const bool norm_grad = x.requires_grad() || gamma.requires_grad() || beta.requires_grad();
  const bool weight_grad = weight.requires_grad();
  const auto backward = [saved = SavedNorm(x, statistics, gamma, beta), eps,
                         w = SavedTensor(weight.value()), options, norm_grad,
                         weight_grad](const Tensor& dy) {
    const SavedNorm::Values in = saved.get();
    std::vector<Tensor> gradients(4);  // of x, gamma, beta, weight
    if (weight_grad) {
      gradients[3] = batch_norm_relu_conv2d_backward_weight(in.x, in.statistics, in.gamma, in.beta,
                                                            eps, dy, w.shape(), options);
    }
    if (norm_grad) {
      auto [dx, dgamma, dbeta] = batch_norm_relu_conv2d_backward_input(
          dy, in.x, in.statistics, in.gamma, in.beta, eps, w.get(), options);
      gradients[0] = dx;
      gradients[1] = dgamma;
      gradients[2] = dbeta;
    }
    return gradients;
  };
  return {
      make_variable("batch_norm_relu_conv2d", std::move(y), {&x, &gamma, &beta, &weight}, backward),
      y_statistics};
}

}  // namespace gradus
