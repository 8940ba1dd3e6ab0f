#include <gradus/autograd/collectives.h>

#include <gradus/autograd/ops.h>

namespace gradus {
namespace {

/// The sum of the members' gradients of a result that they share, from this one's.
Tensor sum_of_gradients(const Tensor& own, Communicator& communicator, Downstream downstream) {
  if (downstream == Downstream::same) return affine(own, communicator.size(), -0.0);
  Tensor sum = own.clone();
  communicator.all_reduce(sum);
  return sum;
}

}  // namespace

Variable all_reduce(const Variable& x, Communicator& communicator, Downstream downstream) {
  Tensor sum = x.value().clone();
  communicator.all_reduce(sum);
  return make_variable("all_reduce", std::move(sum), {&x},
                       [&communicator, downstream](const Tensor& dy) -> std::vector<Tensor> {
                         return {sum_of_gradients(dy, communicator, downstream)};
                       });
}

Variable all_gather(const Variable& x, Communicator& communicator, Downstream downstream) {
  return make_variable(
      "all_gather", communicator.all_gather(x.value()), {&x},
      [shape = x.shape(), &communicator, downstream](const Tensor& dy) -> std::vector<Tensor> {
        const std::int64_t rank = communicator.rank();
        return {
            sum_of_gradients(dy, communicator, downstream).slice(rank, rank + 1).reshape(shape)};
      });
}

}  // namespace gradus
