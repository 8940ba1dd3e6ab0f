#include <gradus/autograd/ops.h>
#include <gradus/autograd/saved_tensor.h>

namespace gradus {

Variable softmax(const Variable& x) {
  Tensor y = softmax(x.value());
  return make_variable("softmax", y, {&x},
                       [y = SavedTensor(y)](const Tensor& dy) -> std::vector<Tensor> {
                         return {softmax_backward(dy, y.get())};
                       });
}

Variable log_softmax(const Variable& x) {
  Tensor y = log_softmax(x.value());
  return make_variable("log_softmax", y, {&x},
                       [y = SavedTensor(y)](const Tensor& dy) -> std::vector<Tensor> {
                         return {log_softmax_backward(dy, y.get())};
                       });
}

Variable softmax_cross_entropy(const Variable& logits, const Tensor& labels, double smoothing) {
  auto [losses, log_sum_exp] = softmax_cross_entropy(logits.value(), labels, smoothing);
  return make_variable(
      "softmax_cross_entropy", losses, {&logits},
      [logits = SavedTensor(logits), labels = SavedTensor(labels.to(logits.device())),
       log_sum_exp = SavedTensor(log_sum_exp),
       smoothing](const Tensor& dlosses) -> std::vector<Tensor> {
        return {softmax_cross_entropy_backward(dlosses, logits.get(), labels.get(),
                                               log_sum_exp.get(), smoothing)};
      });
}

}  // namespace gradus
