#include <gradus/autograd/ops.h>
#include <gradus/autograd/ops_fused.h>
#include <gradus/autograd/saved_tensor.h>
#include <gradus/tensor/beside.h>

namespace gradus {
namespace {

/// y, the convolution's result, with its gradients.
Variable with_gradients(Tensor y, const Variable& input, const Variable& weight,
                        const Variable& bias, const Conv2dOptions& options) {
  // Each gradient reads the other factor only; a factor that no gradient reads is not kept.
  const bool input_grad = input.requires_grad();
  const bool weight_grad = weight.requires_grad();
  const bool weight_leaf = weight_grad && weight.node()->leaf;
  const bool bias_grad = bias.requires_grad();
  return make_variable(
      "conv2d", std::move(y), {&input, &weight, &bias},
      [x = SavedTensor(weight_grad ? input : Variable()),
       w = SavedTensor(input_grad ? weight : Variable()), input_shape = input.shape(),
       weight_shape = weight.shape(), options, weight_leaf, bias_grad](const Tensor& dy) {
        std::vector<Tensor> gradients(3);
        // The weight's first: an input that is computed again for it is gone when its own gradient
        // needs memory. A parameter's is read when the walk is over, so that it may be computed
        // beside it.
        if (x) {
          const Tensor x_value = x.get();
          const Beside beside(weight_leaf, {x_value, dy});
          gradients[1] = conv2d_backward_weight(dy, x_value, weight_shape, options);
        }
        if (w) {
          gradients[0] = conv2d_backward_input(dy, w.get(), input_shape, options);
        }
        if (bias_grad) gradients[2] = sum(dy.to(compute_dtype(dy.dtype())), {0, 1, 2});
        return gradients;
      });
}

}  // namespace

Variable conv2d(const Variable& input, const Variable& weight, const Variable& bias,
                const Conv2dOptions& options) {
  return with_gradients(conv2d(input.value(), weight.value(), bias.value(), options), input, weight,
                        bias, options);
}

WithStatistics<Variable> conv2d_with_statistics(const Variable& input, const Variable& weight,
                                                const Conv2dOptions& options) {
  auto [y, statistics] = conv2d_with_statistics(input.value(), weight.value(), options);
  return {with_gradients(std::move(y), input, weight, {}, options), statistics};
}

}  // namespace gradus
