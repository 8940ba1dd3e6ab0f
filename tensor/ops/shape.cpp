#include <algorithm>
#include <vector>

#include <gradus/tensor/ops.h>
#include "tensor/ops/support.h"

namespace gradus {
namespace {

/// x seen as [outer, size of axis, inner].
ReduceGeometry around_axis(const Shape& shape, int axis) {
  ReduceGeometry g{1, shape[axis], 1};
  for (int i = 0; i < axis; ++i) g.outer *= shape[i];
  for (int i = axis + 1; i < shape.rank(); ++i) g.inner *= shape[i];
  return g;
}

/// The row numbers `index` on `device`, wherever they lie, once all are known to be in [0, bound).
Tensor checked_index(std::string_view op, const Tensor& index, std::int64_t bound, Device device) {
  check_defined(op, "index", index);
  check(index.dtype() == DType::int64 && index.rank() == 1, op,
        "index must be int64 of shape [n]; got {} {}", name(index.dtype()), index.shape());
  const Tensor on_host = index.to(Device::cpu);
  const std::int64_t* values = on_host.data<std::int64_t>();
  for (std::int64_t i = 0; i < index.numel(); ++i)
    check(values[i] >= 0 && values[i] < bound, op, "index {} at position {} is not in [0, {})",
          values[i], i, bound);
  return index.to(device);
}

/// Shape of `shape` without its leading axis, which becomes `rows`.
Shape with_rows(const Shape& shape, std::int64_t rows) {
  Shape result = shape;
  result[0] = rows;
  return result;
}

}  // namespace

Tensor permute(const Tensor& x, std::span<const int> axes) {
  check_defined("permute", "x", x);
  check(static_cast<int>(axes.size()) == x.rank(), "permute", "shape {} needs {} axes; got {}",
        x.shape(), x.rank(), axes.size());
  std::array<std::int64_t, Shape::max_rank> strides{};
  std::int64_t stride = 1;
  for (int axis = x.rank() - 1; axis >= 0; --axis) {
    strides[axis] = stride;
    stride *= x.size(axis);
  }
  StridedGeometry g;
  std::array<bool, Shape::max_rank> seen{};
  Shape shape;
  for (int i = 0; i < x.rank(); ++i) {
    const int axis = x.shape().normalize(axes[i]);
    check(!seen[axis], "permute", "axis {} is given twice", axes[i]);
    seen[axis] = true;
    shape.push_back(x.size(axis));
    g.add_axis(x.size(axis), strides[axis], 0);
  }
  Tensor y = empty(shape, options_of(x));
  dispatch_any(x.dtype(), [&]<class T>() {
    GRADUS_KERNEL(x.device(), strided_copy(x.data<T>(), y.data<T>(), g));
  });
  return y;
}

Tensor permute(const Tensor& x, std::initializer_list<int> axes) {
  return permute(x, std::span<const int>(axes.begin(), axes.size()));
}

Tensor transpose(const Tensor& x, int axis0, int axis1) {
  check_defined("transpose", "x", x);
  std::vector<int> axes(static_cast<std::size_t>(x.rank()));
  for (int i = 0; i < x.rank(); ++i) axes[i] = i;
  std::swap(axes[x.shape().normalize(axis0)], axes[x.shape().normalize(axis1)]);
  return permute(x, axes);
}

Tensor broadcast_to(const Tensor& x, const Shape& shape) {
  check_defined("broadcast_to", "x", x);
  if (x.shape() == shape) return x;
  check(broadcast_shapes("broadcast_to", x.shape(), shape) == shape, "broadcast_to",
        "{} does not broadcast to {}", x.shape(), shape);
  const StridedGeometry g = broadcast_geometry(shape, x.shape(), x.shape());
  Tensor y = empty(shape, options_of(x));
  dispatch_any(x.dtype(), [&]<class T>() {
    GRADUS_KERNEL(x.device(), strided_copy(x.data<T>(), y.data<T>(), g));
  });
  return y;
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  check_floating("sum_to", "x", x);
  if (x.shape() == shape) return x;
  check(broadcast_shapes("sum_to", shape, x.shape()) == x.shape(), "sum_to",
        "{} is not the sum of {} over broadcast axes", shape, x.shape());
  Axes broadcast;
  for (int axis = 0; axis < x.rank(); ++axis) {
    const int own = axis - (x.rank() - shape.rank());
    if ((own < 0 || shape[own] == 1) && x.size(axis) != 1) broadcast.push_back(axis);
  }
  return (broadcast.empty() ? x : sum(x, broadcast)).reshape(shape);
}

Tensor concat(std::span<const Tensor> tensors, int axis) {
  check(!tensors.empty(), "concat", "there must be at least one tensor");
  check_defined("concat", "tensor 0", tensors[0]);
  Shape shape = tensors[0].shape();
  axis = shape.normalize(axis);
  shape[axis] = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& x = tensors[i];
    check_same_kind("concat", "tensor 0", tensors[0], fmt::format("tensor {}", i), x);
    bool matches = x.rank() == shape.rank();
    for (int a = 0; matches && a < shape.rank(); ++a) matches = a == axis || x.size(a) == shape[a];
    check(matches, "concat", "sizes must match except along axis {}; got {} and {}", axis,
          tensors[0].shape(), x.shape());
    check(!__builtin_add_overflow(shape[axis], x.size(axis), &shape[axis]), "concat",
          "axis {} has more elements than can be counted", axis);
  }
  Tensor y = empty(shape, options_of(tensors[0]));
  const ReduceGeometry g = around_axis(shape, axis);
  std::int64_t begin = 0;
  for (const Tensor& x : tensors) {
    const std::int64_t run = x.size(axis) * g.inner;
    dispatch_any(x.dtype(), [&]<class T>() {
      if (run > 0)
        GRADUS_KERNEL(x.device(), copy_rows(x.data<T>(), run, y.data<T>() + begin,
                                            g.reduce * g.inner, g.outer, run));
    });
    begin += run;
  }
  return y;
}

Tensor concat(std::initializer_list<Tensor> tensors, int axis) {
  return concat(std::span<const Tensor>(tensors.begin(), tensors.size()), axis);
}

Tensor slice(const Tensor& x, int axis, std::int64_t begin, std::int64_t end) {
  check_defined("slice", "x", x);
  axis = x.shape().normalize(axis);
  if (axis == 0) return x.slice(begin, end);
  check(0 <= begin && begin <= end && end <= x.size(axis), "slice",
        "[{}, {}) is not within axis {} of shape {}", begin, end, axis, x.shape());
  Shape shape = x.shape();
  shape[axis] = end - begin;
  Tensor y = empty(shape, options_of(x));
  const ReduceGeometry g = around_axis(x.shape(), axis);
  const std::int64_t run = (end - begin) * g.inner;
  dispatch_any(x.dtype(), [&]<class T>() {
    if (y.numel() > 0)
      GRADUS_KERNEL(x.device(), copy_rows(x.data<T>() + begin * g.inner, g.reduce * g.inner,
                                          y.data<T>(), run, g.outer, run));
  });
  return y;
}

Tensor slice_backward(const Tensor& dy, const Shape& shape, int axis, std::int64_t begin) {
  check_defined("slice_backward", "dy", dy);
  axis = shape.normalize(axis);
  Shape part = shape;
  if (dy.rank() == shape.rank()) part[axis] = dy.size(axis);
  check_shape("slice_backward", "dy", dy, part);
  std::int64_t end = 0;
  const bool countable = !__builtin_add_overflow(begin, dy.size(axis), &end);
  check(countable && 0 <= begin && end <= shape[axis], "slice_backward",
        "[{}, {}) is not within axis {} of shape {}", begin, end, axis, shape);
  Tensor dx = zeros(shape, options_of(dy));
  const ReduceGeometry g = around_axis(shape, axis);
  const std::int64_t run = dy.size(axis) * g.inner;
  dispatch_any(dy.dtype(), [&]<class T>() {
    if (dy.numel() > 0)
      GRADUS_KERNEL(dy.device(), copy_rows(dy.data<T>(), run, dx.data<T>() + begin * g.inner,
                                           g.reduce * g.inner, g.outer, run));
  });
  return dx;
}

Tensor gather_rows(const Tensor& x, const Tensor& index) {
  check_defined("gather_rows", "x", x);
  check(x.rank() >= 1, "gather_rows", "x must have a leading axis; got a scalar");
  const Tensor rows = checked_index("gather_rows", index, x.size(0), x.device());
  Tensor y = empty(with_rows(x.shape(), index.numel()), options_of(x));
  const std::int64_t columns = index.numel() == 0 ? 0 : y.numel() / index.numel();
  dispatch_any(x.dtype(), [&]<class T>() {
    GRADUS_KERNEL(x.device(), gather_rows(x.data<T>(), rows.data<std::int64_t>(), y.data<T>(),
                                          rows.numel(), columns));
  });
  return y;
}

Tensor scatter_add_rows(const Tensor& dy, const Tensor& index, std::int64_t rows) {
  check_floating("scatter_add_rows", "dy", dy);
  check(rows >= 0, "scatter_add_rows", "the rows must not be negative; got {}", rows);
  const Tensor to = checked_index("scatter_add_rows", index, rows, dy.device());
  check(dy.rank() >= 1 && dy.size(0) == index.numel(), "scatter_add_rows",
        "dy needs a row for each index; got {} for {} indices", dy.shape(), index.numel());
  const Tensor rows_in = dy.to(compute_dtype(dy.dtype()));
  Tensor dx = zeros(with_rows(dy.shape(), rows), options_of(rows_in));
  const std::int64_t columns = index.numel() == 0 ? 0 : dy.numel() / index.numel();
  dispatch_full_precision("scatter_add_rows", dx.dtype(), [&]<class T>() {
    GRADUS_KERNEL(dx.device(), scatter_add_rows(rows_in.data<T>(), to.data<std::int64_t>(),
                                                dx.data<T>(), to.numel(), columns));
  });
  return dx.to(dy.dtype());
}

Tensor one_hot(const Tensor& index, std::int64_t classes, TensorOptions options) {
  check(classes >= 1, "one_hot", "there must be at least one class; got {}", classes);
  const Tensor ones = checked_index("one_hot", index, classes, options.device);
  Tensor y = empty({ones.numel(), classes}, options);
  dispatch_any(y.dtype(), [&]<class T>() {
    GRADUS_KERNEL(y.device(),
                  one_hot(ones.data<std::int64_t>(), y.data<T>(), ones.numel(), classes));
  });
  return y;
}

Tensor one_hot(const Tensor& index, std::int64_t classes, DType dtype) {
  check_defined("one_hot", "index", index);
  return one_hot(index, classes, {dtype, index.device()});
}

Tensor eye(std::int64_t n, TensorOptions options) {
  check(n >= 0, "eye", "n must not be negative; got {}", n);
  if (n == 0) return empty({0, 0}, options);
  // A one and n zeros, again and again, are a one on each row's diagonal. A copy from the host
  // could not be part of a captured graph.
  return concat({ones({n, 1}, options), zeros({n, n}, options)}, 1)
      .reshape({n * (n + 1)})
      .slice(0, n * n)
      .reshape({n, n});
}

}  // namespace gradus
