#include "autograd/ops.h"

namespace gradus {

Variable conv2d(const Variable& input, const Variable& weight, const Variable& bias,
                const Conv2dOptions& options) {
  // Each gradient reads the other factor only; a factor that no gradient reads is not kept.
  const bool input_grad = input.requires_grad();
  const bool weight_grad = weight.requires_grad();
  const bool bias_grad = bias.requires_grad();
  return make_variable("conv2d", conv2d(input.value(), weight.value(), bias.value(), options),
                       {&input, &weight, &bias},
                       [x = weight_grad ? input.value() : Tensor(),
                        w = input_grad ? weight.value() : Tensor(), input_shape = input.shape(),
                        weight_shape = weight.shape(), options, bias_grad](const Tensor& dy) {
                         std::vector<Tensor> gradients(3);
                         if (w) gradients[0] = conv2d_backward_input(dy, w, input_shape, options);
                         if (x) gradients[1] = conv2d_backward_weight(x, dy, weight_shape, options);
                         if (bias_grad)
                           gradients[2] = sum(dy.to(compute_dtype(dy.dtype())), {0, 1, 2});
                         return gradients;
                       });
}

BatchNormResult batch_norm_relu_conv2d_train(const Variable& x, const Variable& gamma,
                                             const Variable& beta, double eps,
                                             const Variable& weight, const Conv2dOptions& options) {
  const BatchStatistics statistics = batch_norm_statistics(x.value());
  Tensor y = batch_norm_relu_conv2d(x.value(), statistics, gamma.value(), beta.value(), eps,
                                    weight.value(), options);
  const bool norm_grad = x.requires_grad() || gamma.requires_grad() || beta.requires_grad();
  const bool weight_grad = weight.requires_grad();
  const auto backward = [x = x.value(), statistics, gamma = gamma.value(), beta = beta.value(), eps,
                         w = weight.value(), options, norm_grad, weight_grad](Tensor dy) {
    std::vector<Tensor> gradients(4);  // of x, gamma, beta, weight
    if (weight_grad) {
      gradients[3] = batch_norm_relu_conv2d_backward_weight(x, statistics, gamma, beta, eps, dy,
                                                            w.shape(), options);
    }
    if (norm_grad) {
      const Tensor dactivation = conv2d_backward_input(dy, w, x.shape(), options);
      dy = Tensor();
      auto [dx, dgamma, dbeta, dresidual] = batch_norm_backward(
          dactivation, x, {}, statistics, gamma, beta, {.eps = eps, .relu = true});
      gradients[0] = dx;
      gradients[1] = dgamma;
      gradients[2] = dbeta;
    }
    return gradients;
  };
  return {
      make_variable("batch_norm_relu_conv2d", std::move(y), {&x, &gamma, &beta, &weight}, backward),
      statistics};
}

}  // namespace gradus
