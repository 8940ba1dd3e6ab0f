#include <gradus/autograd/ops.h>
#include <gradus/autograd/saved_tensor.h>

namespace gradus {

Variable max_pool2d(const Variable& input, const Pool2dOptions& options) {
  auto [output, indices] = max_pool2d(input.value(), options);
  return make_variable("max_pool2d", output, {&input},
                       [indices = SavedTensor(indices), shape = input.shape(),
                        options](const Tensor& dy) -> std::vector<Tensor> {
                         return {max_pool2d_backward(dy, indices.get(), shape, options)};
                       });
}

Variable avg_pool2d(const Variable& input, const Pool2dOptions& options) {
  return make_variable("avg_pool2d", avg_pool2d(input.value(), options), {&input},
                       [shape = input.shape(), options](const Tensor& dy) -> std::vector<Tensor> {
                         return {avg_pool2d_backward(dy, shape, options)};
                       });
}

Variable global_avg_pool2d(const Variable& input) {
  return make_variable("global_avg_pool2d", global_avg_pool2d(input.value()), {&input},
                       [shape = input.shape()](const Tensor& dy) -> std::vector<Tensor> {
                         const auto N = shape[0], H = shape[1], W = shape[2], C = shape[3];
                         const Tensor share = dy.reshape({N, 1, 1, C}) / static_cast<double>(H * W);
                         return {broadcast_to(share, shape)};
                       });
}

}  // namespace gradus
