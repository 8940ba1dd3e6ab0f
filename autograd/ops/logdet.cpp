#include <gradus/autograd/ops.h>
#include <gradus/autograd/saved_tensor.h>

namespace gradus {

Variable logdet(const Variable& x) {
  auto [value, inverse] = logdet(x.value());
  return make_variable("logdet", value, {&x},
                       [inverse = SavedTensor(inverse)](const Tensor& dy) -> std::vector<Tensor> {
                         const bool batched = inverse.get().rank() == 3;
                         const Shape shape = batched ? Shape{dy.size(0), 1, 1} : Shape{1, 1};
                         return {mul(dy.reshape(shape), inverse.get())};
                       });
}

}  // namespace gradus
