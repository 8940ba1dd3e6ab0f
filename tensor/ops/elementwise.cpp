#include <array>
#include <cmath>

#include <gradus/tensor/ops.h>
#include <gradus/tensor/unary.h>
#include "tensor/ops/support.h"

namespace gradus {
namespace {

/// Strides of a shape read as a broadcast to `rank` axes: 0 where the size is 1.
std::array<std::int64_t, Shape::max_rank> broadcast_strides(const Shape& shape, int rank) {
  std::array<std::int64_t, Shape::max_rank> strides{};
  std::int64_t stride = 1;
  for (int i = 1; i <= shape.rank(); ++i) {
    strides[rank - i] = shape[-i] == 1 ? 0 : stride;
    stride *= shape[-i];
  }
  return strides;
}

template <class Function>
Tensor arithmetic(std::string_view op, Function function, const Tensor& a, const Tensor& b) {
  check_same_kind(op, "a", a, "b", b);
  const Shape shape = broadcast_shapes(op, a.shape(), b.shape());
  Tensor y = empty(shape, options_of(a));
  dispatch_floating(op, a.dtype(), [&]<class T>() {
    GRADUS_KERNEL(a.device(), binary(function, a.data<T>(), b.data<T>(), y.data<T>(),
                                     broadcast_geometry(shape, a.shape(), b.shape())));
  });
  return y;
}

template <class Function>
Tensor comparison(std::string_view op, Function function, const Tensor& a, const Tensor& b) {
  check_same_kind(op, "a", a, "b", b);
  const Shape shape = broadcast_shapes(op, a.shape(), b.shape());
  Tensor y = empty(shape, {DType::uint8, a.device()});
  dispatch_any(a.dtype(), [&]<class T>() {
    GRADUS_KERNEL(a.device(), binary(function, a.data<T>(), b.data<T>(), y.data<std::uint8_t>(),
                                     broadcast_geometry(shape, a.shape(), b.shape())));
  });
  return y;
}

}  // namespace

Clamp::Clamp(double low_, double high_) : low(low_), high(high_) {
  check(low <= high, "clamp", "low must not exceed high; got {} and {}", low, high);
}

LeakyRelu::LeakyRelu(double slope_) : slope(slope_) {
  check(std::isfinite(slope), "leaky_relu", "slope must be finite; got {}", slope);
}

template <class Function>
Tensor unary_forward(std::string_view op, Function function, const Tensor& x) {
  check_floating(op, "x", x);
  Tensor y = empty(x.shape(), options_of(x));
  dispatch_floating(op, x.dtype(), [&]<class T>() {
    GRADUS_KERNEL(x.device(), unary(function, x.data<T>(), y.data<T>(), x.numel()));
  });
  return y;
}

template <class Function>
Tensor unary_backward(Function function, const Tensor& dy, const Tensor& saved) {
  if (saved.defined()) check_like("backward", "the gradient", dy, "what forward kept", saved);
  Tensor dx = empty(dy.shape(), options_of(dy));
  dispatch_floating("backward", dy.dtype(), [&]<class T>() {
    const T* saved_data = saved.defined() ? saved.data<T>() : nullptr;
    GRADUS_KERNEL(dy.device(),
                  unary_backward(function, dy.data<T>(), saved_data, dx.data<T>(), dy.numel()));
  });
  return dx;
}

#define GRADUS_INSTANTIATE(Function)                                        \
  template Tensor unary_forward(std::string_view, Function, const Tensor&); \
  template Tensor unary_backward(Function, const Tensor&, const Tensor&);
GRADUS_UNARY_FUNCTIONS(GRADUS_INSTANTIATE)
#undef GRADUS_INSTANTIATE

StridedGeometry broadcast_geometry(const Shape& out, const Shape& a, const Shape& b) {
  const auto strides_a = broadcast_strides(a, out.rank());
  const auto strides_b = broadcast_strides(b, out.rank());
  StridedGeometry g;
  g.numel = out.numel();
  for (int axis = 0; axis < out.rank(); ++axis) {
    const std::int64_t size = out[axis];
    if (size == 1) continue;
    const int last = g.rank - 1;
    const bool merges = last >= 0 && g.stride_a[last] == strides_a[axis] * size &&
                        g.stride_b[last] == strides_b[axis] * size;
    if (merges) {
      g.size[last] *= size;
      g.stride_a[last] = strides_a[axis];
      g.stride_b[last] = strides_b[axis];
    } else {
      g.size[g.rank] = size;
      g.stride_a[g.rank] = strides_a[axis];
      g.stride_b[g.rank] = strides_b[axis];
      ++g.rank;
    }
  }
  return g;
}

Tensor affine(const Tensor& x, double scale, double shift) {
  return unary_forward("affine", Affine{scale, shift}, x);
}
Tensor neg(const Tensor& x) { return unary_forward("neg", Affine{-1, -0.0}, x); }
Tensor exp(const Tensor& x) { return unary_forward("exp", Exp{}, x); }
Tensor log(const Tensor& x) { return unary_forward("log", Log{}, x); }
Tensor sqrt(const Tensor& x) { return unary_forward("sqrt", Sqrt{}, x); }
Tensor square(const Tensor& x) { return unary_forward("square", Square{}, x); }
Tensor pow(const Tensor& x, double exponent) { return unary_forward("pow", Pow{exponent}, x); }
Tensor abs(const Tensor& x) { return unary_forward("abs", Abs{}, x); }
Tensor clamp(const Tensor& x, double low, double high) {
  return unary_forward("clamp", Clamp{low, high}, x);
}
Tensor relu(const Tensor& x) { return unary_forward("relu", Relu{}, x); }
Tensor leaky_relu(const Tensor& x, double slope) {
  return unary_forward("leaky_relu", LeakyRelu{slope}, x);
}
Tensor sigmoid(const Tensor& x) { return unary_forward("sigmoid", Sigmoid{}, x); }
Tensor tanh(const Tensor& x) { return unary_forward("tanh", Tanh{}, x); }
Tensor gelu(const Tensor& x) { return unary_forward("gelu", Gelu{}, x); }

Tensor add(const Tensor& a, const Tensor& b) { return arithmetic("add", Add{}, a, b); }
Tensor sub(const Tensor& a, const Tensor& b) { return arithmetic("sub", Sub{}, a, b); }
Tensor mul(const Tensor& a, const Tensor& b) { return arithmetic("mul", Mul{}, a, b); }
Tensor div(const Tensor& a, const Tensor& b) { return arithmetic("div", Div{}, a, b); }
Tensor div(const Tensor& x, double divisor) { return unary_forward("div", DivideBy{divisor}, x); }
Tensor maximum(const Tensor& a, const Tensor& b) { return arithmetic("maximum", Maximum{}, a, b); }
Tensor minimum(const Tensor& a, const Tensor& b) { return arithmetic("minimum", Minimum{}, a, b); }

Tensor equal(const Tensor& a, const Tensor& b) { return comparison("equal", Equal{}, a, b); }
Tensor not_equal(const Tensor& a, const Tensor& b) {
  return comparison("not_equal", NotEqual{}, a, b);
}
Tensor less(const Tensor& a, const Tensor& b) { return comparison("less", Less{}, a, b); }
Tensor less_equal(const Tensor& a, const Tensor& b) {
  return comparison("less_equal", LessEqual{}, a, b);
}
Tensor greater(const Tensor& a, const Tensor& b) { return comparison("greater", Greater{}, a, b); }
Tensor greater_equal(const Tensor& a, const Tensor& b) {
  return comparison("greater_equal", GreaterEqual{}, a, b);
}

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  check_defined("where", "condition", condition);
  check(condition.dtype() == DType::uint8, "where", "condition must be uint8; got {}",
        name(condition.dtype()));
  check_same_kind("where", "a", a, "b", b);
  check(condition.device() == a.device(), "where",
        "condition and a must lie on one device; got {} and {}", name(condition.device()),
        name(a.device()));
  const Shape shape =
      broadcast_shapes("where", condition.shape(), broadcast_shapes("where", a.shape(), b.shape()));
  const Tensor mask = broadcast_to(condition, shape);
  const Tensor full_a = broadcast_to(a, shape), full_b = broadcast_to(b, shape);
  Tensor y = empty(shape, options_of(a));
  dispatch_floating("where", a.dtype(), [&]<class T>() {
    GRADUS_KERNEL(a.device(), where(mask.data<std::uint8_t>(), full_a.data<T>(), full_b.data<T>(),
                                    y.data<T>(), y.numel()));
  });
  return y;
}

void add_scaled(Tensor& into, const Tensor& x, double scale) {
  check_like("add_scaled", "x", x, "into", into);
  if (x.shares_storage(into) && x.raw() != into.raw())  // they may overlap
    return add_scaled(into, x.clone(), scale);
  dispatch_floating("add_scaled", x.dtype(), [&]<class T>() {
    GRADUS_KERNEL(x.device(), add_scaled(static_cast<Compute<T>>(scale), x.data<T>(),
                                         into.data<T>(), x.numel()));
  });
}

bool all_finite(const Tensor& x) {
  check_floating("all_finite", "x", x);
  bool result = true;
  dispatch_floating("all_finite", x.dtype(), [&]<class T>() {
    GRADUS_KERNEL(x.device(), all_finite(x.data<T>(), x.numel(), &result));
  });
  return result;
}

}  // namespace gradus
