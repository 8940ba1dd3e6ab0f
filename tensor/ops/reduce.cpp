#include <cmath>

#include <gradus/tensor/ops.h>
#include "tensor/ops/support.h"

namespace gradus {
namespace {

/// A reduction over a set of axes, brought to the form [outer, reduce, inner]. Where the reduced
/// axes are not neighbours, the input is copied with them last.
struct Reduction {
  Reduction(std::string_view op, const Shape& input_shape, const Axes& axes, bool keep_axes) {
    const auto mask = axes.mask(op, input_shape);
    int runs = 0;
    for (int axis = 0; axis < input_shape.rank(); ++axis) {
      const std::int64_t size = input_shape[axis];
      if (mask[axis]) {
        if (axis == 0 || !mask[axis - 1]) ++runs;
        geometry.reduce *= size;
        if (keep_axes) output.push_back(1);
      } else {
        (runs == 0 ? geometry.outer : geometry.inner) *= size;
        output.push_back(size);
      }
    }
    if (runs > 1) {
      permuted = true;
      geometry.outer *= geometry.inner;
      geometry.inner = 1;
      int count = 0;
      for (const bool reduced : {false, true})
        for (int axis = 0; axis < input_shape.rank(); ++axis)
          if (mask[axis] == reduced) order[count++] = axis;
    }
  }

  Tensor prepare(const Tensor& x) const {
    return permuted ? permute(x, std::span<const int>(order.data(), x.rank())) : x;
  }

  ReduceGeometry geometry{1, 1, 1};
  Shape output;
  bool permuted = false;
  std::array<int, Shape::max_rank> order{};  ///< axes of the permuted copy: kept ones, reduced ones
};

/// The sums, unrounded: float32 for bfloat16.
Tensor sum_prepared(const Tensor& x, const Reduction& r) {
  Tensor y = empty(r.output, {compute_dtype(x.dtype()), x.device()});
  dispatch_floating("sum", x.dtype(), [&]<class T>() {
    GRADUS_KERNEL(x.device(), sum(x.data<T>(), y.data<Compute<T>>(), r.geometry));
  });
  return y;
}

}  // namespace

Tensor sum(const Tensor& x, Axes axes, bool keep_axes) {
  check_floating("sum", "x", x);
  const Reduction r("sum", x.shape(), axes, keep_axes);
  return sum_prepared(r.prepare(x), r).to(x.dtype());
}

Tensor mean(const Tensor& x, Axes axes, bool keep_axes) {
  check_floating("mean", "x", x);
  const Reduction r("mean", x.shape(), axes, keep_axes);
  return div(sum_prepared(r.prepare(x), r), static_cast<double>(r.geometry.reduce)).to(x.dtype());
}

Tensor variance(const Tensor& x, Axes axes, VarianceOptions options) {
  check_floating("variance", "x", x);
  const Reduction r("variance", x.shape(), axes, options.keep_axes);
  const Tensor input = r.prepare(x);
  const double n = static_cast<double>(r.geometry.reduce);
  const Tensor average = div(sum_prepared(input, r), n);
  Tensor y = empty(r.output, options_of(average));
  dispatch_floating("variance", x.dtype(), [&]<class T>() {
    GRADUS_KERNEL(x.device(), sum_squared_deviations(input.data<T>(), average.data<Compute<T>>(),
                                                     y.data<Compute<T>>(), r.geometry));
  });
  const double divisor = n - options.correction;
  return div(y, divisor > 0 ? divisor : std::nan("")).to(x.dtype());
}

MaxResult max(const Tensor& x, Axes axes, bool keep_axes) {
  check_floating("max", "x", x);
  const Reduction r("max", x.shape(), axes, keep_axes);
  check(r.geometry.reduce > 0, "max", "there is no maximum over no elements; got shape {}",
        x.shape());
  const Tensor input = r.prepare(x);
  MaxResult result{empty(r.output, options_of(x)), empty(r.output, {DType::int64, x.device()})};
  dispatch_floating("max", x.dtype(), [&]<class T>() {
    GRADUS_KERNEL(x.device(), max(input.data<T>(), result.values.data<T>(),
                                  result.indices.data<std::int64_t>(), r.geometry));
  });
  return result;
}

Tensor max_backward(const Tensor& dy, const Tensor& indices, const Shape& shape, Axes axes) {
  check_floating("max_backward", "dy", dy);
  const Reduction r("max_backward", shape, axes, false);
  check(dy.numel() == r.output.numel() && indices.numel() == dy.numel(), "max_backward",
        "dy and indices must have {} elements; got {} and {}", r.output.numel(), dy.shape(),
        indices.shape());
  check_index("max_backward", "indices", indices, dy.device());
  // The gradient in the order of the (perhaps permuted) input, then brought back.
  Shape prepared = shape;
  std::array<int, Shape::max_rank> inverse{};
  if (r.permuted) {
    for (int i = 0; i < shape.rank(); ++i) {
      prepared[i] = shape[r.order[i]];
      inverse[r.order[i]] = i;
    }
  }
  Tensor dx = empty(prepared, options_of(dy));
  dispatch_floating("max_backward", dy.dtype(), [&]<class T>() {
    GRADUS_KERNEL(dy.device(), max_backward(dy.data<T>(), indices.data<std::int64_t>(),
                                            dx.data<T>(), r.geometry));
  });
  return r.permuted ? permute(dx, std::span<const int>(inverse.data(), shape.rank())) : dx;
}

Tensor argmax(const Tensor& x, int axis) { return max(x, {axis}).indices; }

}  // namespace gradus
