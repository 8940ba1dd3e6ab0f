#include <array>
#include <cmath>
#include <type_traits>

#include <gradus/tensor/ops.h>
#include <gradus/tensor/unary.h>
#include "tensor/backend/instantiate.h"
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

/// Arithmetic is for floating-point types and gives one; comparisons are for all and give uint8.
template <class Function>
Tensor binary(std::string_view op, Function function, const Tensor& a, const Tensor& b) {
  constexpr bool compares = std::is_same_v<BinaryResult<Function, float>, std::uint8_t>;
  check_same_kind(op, "a", a, "b", b);
  const Shape shape = broadcast_shapes(op, a.shape(), b.shape());
  Tensor y = empty(shape, {compares ? DType::uint8 : a.dtype(), a.device()});
  const auto compute = [&]<class T>() {
    GRADUS_KERNEL(a.device(),
                  binary(function, a.data<T>(), b.data<T>(), y.data<BinaryResult<Function, T>>(),
                         broadcast_geometry(shape, a.shape(), b.shape())));
  };
  if constexpr (compares) {
    dispatch_any(a.dtype(), compute);
  } else {
    dispatch_floating(op, a.dtype(), compute);
  }
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
    GRADUS_KERNEL(dy.device(), unary_backward(function, dy.data<T>(), data_or_null<T>(saved),
                                              dx.data<T>(), dy.numel()));
  });
  return dx;
}

#define GRADUS_INSTANTIATE_FORWARD_AND_BACKWARD(Function) \
  GRADUS_INSTANTIATE(unary_forward<Function>)             \
  GRADUS_INSTANTIATE(unary_backward<Function>)
GRADUS_UNARY_FUNCTIONS(GRADUS_INSTANTIATE_FORWARD_AND_BACKWARD)

StridedGeometry broadcast_geometry(const Shape& out, const Shape& a, const Shape& b) {
  const auto strides_a = broadcast_strides(a, out.rank());
  const auto strides_b = broadcast_strides(b, out.rank());
  StridedGeometry g;
  for (int axis = 0; axis < out.rank(); ++axis)
    g.add_axis(out[axis], strides_a[axis], strides_b[axis]);
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

Tensor add(const Tensor& a, const Tensor& b) { return binary("add", Add{}, a, b); }
Tensor sub(const Tensor& a, const Tensor& b) { return binary("sub", Sub{}, a, b); }
Tensor mul(const Tensor& a, const Tensor& b) { return binary("mul", Mul{}, a, b); }
Tensor div(const Tensor& a, const Tensor& b) { return binary("div", Div{}, a, b); }
Tensor div(const Tensor& x, double divisor) { return unary_forward("div", DivideBy{divisor}, x); }
Tensor maximum(const Tensor& a, const Tensor& b) { return binary("maximum", Maximum{}, a, b); }
Tensor minimum(const Tensor& a, const Tensor& b) { return binary("minimum", Minimum{}, a, b); }

Tensor equal(const Tensor& a, const Tensor& b) { return binary("equal", Equal{}, a, b); }
Tensor not_equal(const Tensor& a, const Tensor& b) { return binary("not_equal", NotEqual{}, a, b); }
Tensor less(const Tensor& a, const Tensor& b) { return binary("less", Less{}, a, b); }
Tensor less_equal(const Tensor& a, const Tensor& b) {
  return binary("less_equal", LessEqual{}, a, b);
}
Tensor greater(const Tensor& a, const Tensor& b) { return binary("greater", Greater{}, a, b); }
Tensor greater_equal(const Tensor& a, const Tensor& b) {
  return binary("greater_equal", GreaterEqual{}, a, b);
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
