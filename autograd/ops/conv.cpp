#include <gradus/autograd/ops.h>
#include "saved_norm.h"

namespace gradus {

namespace {

/// The node of a convolution whose result is y.
Variable conv2d_variable(Tensor y, const Variable& input, const Variable& weight,
                         const Variable& bias, const Conv2dOptions& options) {
  // Each gradient reads the other factor only; a factor that no gradient reads is not kept.
  const bool input_grad = input.requires_grad();
  const bool weight_grad = weight.requires_grad();
  const bool bias_grad = bias.requires_grad();
  return make_variable(
      "conv2d", std::move(y), {&input, &weight, &bias},
      [x = SavedTensor(weight_grad ? input.value() : Tensor()),
       w = SavedTensor(input_grad ? weight.value() : Tensor()), input_shape = input.shape(),
       weight_shape = weight.shape(), options, bias_grad](const Tensor& dy) {
        std::vector<Tensor> gradients(3);
        if (w) {
          gradients[0] = conv2d_backward_input(dy, w.get(), input_shape, options);
        }
        if (x) {
          gradients[1] = conv2d_backward_weight(x.get(), dy, weight_shape, options);
        }
        if (bias_grad) gradients[2] = sum(dy.to(compute_dtype(dy.dtype())), {0, 1, 2});
        return gradients;
      });
}

}  // namespace

Variable conv2d(const Variable& input, const Variable& weight, const Variable& bias,
                const Conv2dOptions& options) {
  return conv2d_variable(conv2d(input.value(), weight.value(), bias.value(), options), input,
                         weight, bias, options);
}

WithStatistics conv2d_with_statistics(const Variable& input, const Variable& weight,
                                      const Conv2dOptions& options) {
  auto [y, statistics] = conv2d_with_statistics(input.value(), weight.value(), options);
  return {conv2d_variable(std::move(y), input, weight, {}, options), statistics};
}

BatchNormConvResult batch_norm_relu_conv2d_train(const WithStatistics& input, const Variable& gamma,
                                                 const Variable& beta, double eps,
                                                 const Variable& weight,
                                                 const Conv2dOptions& options) {
  const Variable& x = input.value;
  const BatchStatistics statistics = input.measure();
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
      auto [dx, dgamma, dbeta, dresidual] = batch_norm_relu_conv2d_backward_input(
          dy, in.x, in.statistics, in.gamma, in.beta, eps, w.get(), options);
      gradients[0] = dx;
      gradients[1] = dgamma;
      gradients[2] = dbeta;
    }
    return gradients;
  };
  Variable output =
      make_variable("batch_norm_relu_conv2d", std::move(y), {&x, &gamma, &beta, &weight}, backward);
  return {{std::move(output), y_statistics}, statistics};
}

}  // namespace gradus
