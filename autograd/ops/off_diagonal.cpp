#include <gradus/autograd/ops.h>
#include <gradus/autograd/saved_tensor.h>

namespace gradus {

Variable off_diagonal_square_sum(const Variable& x) {
  return make_variable("off_diagonal_square_sum", off_diagonal_square_sum(x.value()), {&x},
                       [x = SavedTensor(x)](const Tensor& dy) -> std::vector<Tensor> {
                         return {off_diagonal_square_sum_backward(dy, x.get())};
                       });
}

}  // namespace gradus
