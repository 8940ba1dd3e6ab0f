#include <utility>

#include <gradus/autograd/ops_fused.h>
#include "saved_norm.h"

namespace gradus {

Variable batch_norm_relu(const Variable& x, const BatchStatistics& statistics,
                         const Variable& gamma, const Variable& beta,
                         const BatchNormOptions& options, const Variable& residual) {
  Tensor y = batch_norm_relu(x.value(), statistics, gamma.value(), beta.value(), options,
                             residual.value());
  const SavedTensor saved_y = residual.defined() ? y : Tensor();
  return make_variable("batch_norm_relu", std::move(y), {&x, &gamma, &beta, &residual},
                       [saved = SavedNorm(x, statistics, gamma, beta), saved_y,
                        options](Tensor dy) -> std::vector<Tensor> {
                         const SavedNorm::Values in = saved.get();
                         auto [dx, dgamma, dbeta, dresidual] =
                             batch_norm_relu_backward(std::move(dy), in.x, saved_y.get(),
                                                      in.statistics, in.gamma, in.beta, options);
                         return {dx, dgamma, dbeta, dresidual};
                       });
}

Variable batch_norm_relu_conv2d(const Variable& x, const BatchStatistics& statistics,
                                const Variable& gamma, const Variable& beta,
                                const BatchNormOptions& norm, const Variable& weight,
                                const Conv2dOptions& options) {
  Tensor output = conv2d(batch_norm_relu(x.value(), statistics, gamma.value(), beta.value(), norm),
                         weight.value(), {}, options);
  const bool norm_grad = x.requires_grad() || gamma.requires_grad() || beta.requires_grad();
  const bool weight_grad = weight.requires_grad();
  const auto backward = [saved = SavedNorm(x, statistics, gamma, beta), norm,
                         w = SavedTensor(weight.value()), options, norm_grad,
                         weight_grad](const Tensor& doutput) {
    const SavedNorm::Values in = saved.get();
    std::vector<Tensor> gradients(4);  // of x, gamma, beta, weight
    if (weight_grad) {
      const Tensor y = batch_norm_relu(in.x, in.statistics, in.gamma, in.beta, norm);
      gradients[3] = conv2d_backward_weight(y, doutput, w.shape(), options);
    }
    if (norm_grad) {
      const Tensor dy = conv2d_backward_input(doutput, w.get(), in.x.shape(), options);
      auto [dx, dgamma, dbeta, dresidual] =
          batch_norm_relu_backward(dy, in.x, {}, in.statistics, in.gamma, in.beta, norm);
      gradients[0] = dx;
      gradients[1] = dgamma;
      gradients[2] = dbeta;
    }
    return gradients;
  };
  return make_variable("batch_norm_relu_conv2d", std::move(output), {&x, &gamma, &beta, &weight},
                       backward);
}

}  // namespace gradus
