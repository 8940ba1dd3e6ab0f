#include <gradus/autograd/ops.h>
#include <gradus/autograd/saved_tensor.h>

namespace gradus {

Variable reshape(const Variable& x, const Shape& shape) {
  return make_variable(
      "reshape", x.value().reshape(shape), {&x},
      [from = x.shape()](const Tensor& dy) -> std::vector<Tensor> { return {dy.reshape(from)}; });
}

Variable reshape(const Variable& x, std::initializer_list<std::int64_t> sizes) {
  return reshape(x, x.value().reshape(sizes).shape());
}

Variable flatten(const Variable& x, int first) {
  first = x.shape().normalize(first);
  Shape shape;
  for (int axis = 0; axis < first; ++axis) shape.push_back(x.size(axis));
  std::int64_t rest = 1;
  for (int axis = first; axis < x.shape().rank(); ++axis) rest *= x.size(axis);
  shape.push_back(rest);
  return reshape(x, shape);
}

Variable permute(const Variable& x, std::initializer_list<int> axes) {
  Tensor y = permute(x.value(), axes);
  std::vector<int> inverse(axes.size());
  int position = 0;
  for (int axis : axes) inverse[x.shape().normalize(axis)] = position++;
  return make_variable(
      "permute", std::move(y), {&x},
      [inverse](const Tensor& dy) -> std::vector<Tensor> { return {permute(dy, inverse)}; });
}

Variable transpose(const Variable& x, int axis0, int axis1) {
  return make_variable(
      "transpose", transpose(x.value(), axis0, axis1), {&x},
      [=](const Tensor& dy) -> std::vector<Tensor> { return {transpose(dy, axis0, axis1)}; });
}

Variable broadcast_to(const Variable& x, const Shape& shape) {
  return make_variable("broadcast_to", broadcast_to(x.value(), shape), {&x},
                       [](const Tensor& dy) -> std::vector<Tensor> { return {dy}; });
}

Variable concat(std::span<const Variable> variables, int axis) {
  std::vector<Tensor> values;
  std::vector<std::int64_t> sizes;
  for (const Variable& x : variables) values.push_back(x.value());
  Tensor y = concat(std::span<const Tensor>(values), axis);
  for (const Tensor& x : values) sizes.push_back(x.size(axis));
  return make_variable("concat", std::move(y), variables,
                       [=](const Tensor& dy) -> std::vector<Tensor> {
                         std::vector<Tensor> gradients;
                         std::int64_t begin = 0;
                         for (std::int64_t size : sizes) {
                           gradients.push_back(slice(dy, axis, begin, begin + size));
                           begin += size;
                         }
                         return gradients;
                       });
}

Variable concat(std::initializer_list<Variable> variables, int axis) {
  return concat(std::span<const Variable>(variables.begin(), variables.size()), axis);
}

Variable slice(const Variable& x, int axis, std::int64_t begin, std::int64_t end) {
  return make_variable("slice", slice(x.value(), axis, begin, end), {&x},
                       [=, from = x.shape()](const Tensor& dy) -> std::vector<Tensor> {
                         return {slice_backward(dy, from, axis, begin)};
                       });
}

Variable gather_rows(const Variable& x, const Tensor& index) {
  return make_variable(
      "gather_rows", gather_rows(x.value(), index), {&x},
      [index = SavedTensor(index), from = x.shape()](const Tensor& dy) -> std::vector<Tensor> {
        return {scatter_add_rows(dy, index.get(), from[0])};
      });
}

}  // namespace gradus
