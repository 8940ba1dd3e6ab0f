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
  return make_variable(
      "softmax_cross_entropy", softmax_cross_entropy(logits.value(), labels, smoothing), {&logits},
      [logits = SavedTensor(logits), labels = SavedTensor(labels.to(logits.device())),
       smoothing](const Tensor& dlosses) -> std::vector<Tensor> {
        return {softmax_cross_entropy_backward(dlosses, logits.get(), labels.get(), smoothing)};
      });
}

}  // namespace gradus
