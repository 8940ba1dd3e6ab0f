#include <cmath>

#include <gradus/autograd/ops.h>
#include <gradus/autograd/saved_tensor.h>

namespace gradus {
namespace {

/// The shape of a reduction's result with the reduced axes kept as 1, so that it broadcasts back.
Shape kept_shape(const Shape& shape, const Axes& axes) {
  const auto mask = axes.mask("reduce", shape);
  Shape kept;
  for (int axis = 0; axis < shape.rank(); ++axis) kept.push_back(mask[axis] ? 1 : shape[axis]);
  return kept;
}

double reduced_count(const Shape& shape, const Shape& kept) {
  return static_cast<double>(shape.numel()) /
         static_cast<double>(std::max<std::int64_t>(1, kept.numel()));
}

}  // namespace

Variable sum(const Variable& x, Axes axes, bool keep_axes) {
  Tensor y = sum(x.value(), axes, keep_axes);
  return make_variable("sum", std::move(y), {&x},
                       [from = x.shape(), kept = kept_shape(x.shape(), axes)](
                           const Tensor& dy) -> std::vector<Tensor> {
                         return {broadcast_to(dy.reshape(kept), from)};
                       });
}

Variable mean(const Variable& x, Axes axes, bool keep_axes) {
  Tensor y = mean(x.value(), axes, keep_axes);
  return make_variable("mean", std::move(y), {&x},
                       [from = x.shape(), kept = kept_shape(x.shape(), axes)](
                           const Tensor& dy) -> std::vector<Tensor> {
                         const Tensor share = dy.reshape(kept) / reduced_count(from, kept);
                         return {broadcast_to(share, from)};
                       });
}

// d variance / dx = 2 (x - mean) / (n - correction)
Variable variance(const Variable& x, Axes axes, VarianceOptions options) {
  Tensor y = variance(x.value(), axes, options);
  return make_variable(
      "variance", std::move(y), {&x},
      [x_saved = SavedTensor(x), axes, correction = options.correction,
       kept = kept_shape(x.shape(), axes)](const Tensor& dy) -> std::vector<Tensor> {
        const DType compute = compute_dtype(dy.dtype());
        const Tensor x_value = x_saved.get().to(compute);
        const double divisor = reduced_count(x_value.shape(), kept) - correction;
        const double factor = divisor > 0 ? 2 / divisor : std::nan("");  // as the variance itself
        const Tensor deviation = sub(x_value, mean(x_value, axes, true));
        return {mul(deviation, dy.to(compute).reshape(kept) * factor).to(dy.dtype())};
      });
}

Variable max(const Variable& x, Axes axes, bool keep_axes) {
  MaxResult result = max(x.value(), axes, keep_axes);
  return make_variable("max", result.values, {&x},
                       [indices = SavedTensor(result.indices), from = x.shape(),
                        axes](const Tensor& dy) -> std::vector<Tensor> {
                         return {max_backward(dy, indices.get(), from, axes)};
                       });
}

}  // namespace gradus
