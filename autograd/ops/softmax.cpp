#include "autograd/ops.h"

namespace gradus {

Variable softmax(const Variable& x) {
  Tensor y = softmax(x.value());
  return make_variable("softmax", y, {&x}, [y](const Tensor& dy) -> std::vector<Tensor> {
    return {softmax_backward(dy, y)};
  });
}

Variable log_softmax(const Variable& x) {
  Tensor y = log_softmax(x.value());
  return make_variable("log_softmax", y, {&x}, [y](const Tensor& dy) -> std::vector<Tensor> {
    return {log_softmax_backward(dy, y)};
  });
}

}  // namespace gradus
