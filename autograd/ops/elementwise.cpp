#include <gradus/autograd/ops.h>
#include <gradus/autograd/saved_tensor.h>
#include <gradus/tensor/unary.h>

namespace gradus {
namespace {

/// A function of tensor/elementwise.h with its derivative; saves x, y or nothing, as it says.
template <class Function>
Variable unary(std::string_view op, Function function, const Variable& x) {
  Tensor y = unary_forward(op, function, x.value());
  SavedTensor saved;
  if constexpr (Function::saves == Saves::input) saved = x;
  if constexpr (Function::saves == Saves::output) saved = y;
  return make_variable(op, std::move(y), {&x}, [=](const Tensor& dy) -> std::vector<Tensor> {
    return {unary_backward(function, dy, saved.get())};
  });
}

/// x where it is needed for the gradient of `other`, else nothing: what is not read is not kept.
template <class X>
SavedTensor save_for(const Variable& other, const X& x) {
  return other.requires_grad() ? x : X();
}

/// maximum or minimum: the gradient goes where `first_wins` is 1, else to b.
Variable select(std::string_view op, Tensor y, const Tensor& first_wins, const Variable& a,
                const Variable& b) {
  return make_variable(op, std::move(y), {&a, &b},
                       [mask = SavedTensor(first_wins)](const Tensor& dy) -> std::vector<Tensor> {
                         const Tensor zero = zeros({}, options_of(dy));
                         return {where(mask.get(), dy, zero), where(mask.get(), zero, dy)};
                       });
}

}  // namespace

Variable affine(const Variable& x, double scale, double shift) {
  return unary("affine", Affine{scale, shift}, x);
}
Variable neg(const Variable& x) { return unary("neg", Affine{-1, -0.0}, x); }
Variable exp(const Variable& x) { return unary("exp", Exp{}, x); }
Variable log(const Variable& x) { return unary("log", Log{}, x); }
Variable sqrt(const Variable& x) { return unary("sqrt", Sqrt{}, x); }
Variable square(const Variable& x) { return unary("square", Square{}, x); }
Variable pow(const Variable& x, double exponent) { return unary("pow", Pow{exponent}, x); }
Variable abs(const Variable& x) { return unary("abs", Abs{}, x); }
Variable clamp(const Variable& x, double low, double high) {
  return unary("clamp", Clamp{low, high}, x);
}
Variable relu(const Variable& x) { return unary("relu", Relu{}, x); }
Variable leaky_relu(const Variable& x, double slope) {
  return unary("leaky_relu", LeakyRelu{slope}, x);
}
Variable sigmoid(const Variable& x) { return unary("sigmoid", Sigmoid{}, x); }
Variable tanh(const Variable& x) { return unary("tanh", Tanh{}, x); }
Variable gelu(const Variable& x) { return unary("gelu", Gelu{}, x); }

// Gradients of broadcast inputs have the result's shape: the engine sums them back.
Variable add(const Variable& a, const Variable& b) {
  return make_variable("add", add(a.value(), b.value()), {&a, &b},
                       [](const Tensor& dy) -> std::vector<Tensor> {
                         return {dy, dy};
                       });
}

Variable sub(const Variable& a, const Variable& b) {
  return make_variable("sub", sub(a.value(), b.value()), {&a, &b},
                       [need_b = b.requires_grad()](const Tensor& dy) -> std::vector<Tensor> {
                         return {dy, need_b ? neg(dy) : Tensor()};
                       });
}

Variable mul(const Variable& a, const Variable& b) {
  return make_variable("mul", mul(a.value(), b.value()), {&a, &b},
                       [a_saved = save_for(b, a),
                        b_saved = save_for(a, b)](const Tensor& dy) -> std::vector<Tensor> {
                         return {b_saved ? mul(dy, b_saved.get()) : Tensor(),
                                 a_saved ? mul(dy, a_saved.get()) : Tensor()};
                       });
}

// The derivative by b, -a / b^2, is -y / b without a square that could leave the range.
Variable div(const Variable& a, const Variable& b) {
  Tensor y = div(a.value(), b.value());
  return make_variable("div", y, {&a, &b},
                       [y_saved = save_for(b, y), b_saved = SavedTensor(b),
                        need_a = a.requires_grad()](const Tensor& dy) -> std::vector<Tensor> {
                         const Tensor divisor = b_saved.get();
                         return {need_a ? div(dy, divisor) : Tensor(),
                                 y_saved ? neg(mul(dy, div(y_saved.get(), divisor))) : Tensor()};
                       });
}

Variable div(const Variable& x, double divisor) { return unary("div", DivideBy{divisor}, x); }

Variable maximum(const Variable& a, const Variable& b) {
  Tensor y = maximum(a.value(), b.value());
  return select("maximum", std::move(y), greater_equal(a.value(), b.value()), a, b);
}

Variable minimum(const Variable& a, const Variable& b) {
  Tensor y = minimum(a.value(), b.value());
  return select("minimum", std::move(y), less_equal(a.value(), b.value()), a, b);
}

Variable where(const Tensor& condition, const Variable& a, const Variable& b) {
  return select("where", where(condition, a.value(), b.value()), condition, a, b);
}

Variable cast(const Variable& x, DType dtype) {
  check(is_floating(x.dtype()) && is_floating(dtype), "cast",
        "only floating types have gradients; got {} to {}", name(x.dtype()), name(dtype));
  if (x.dtype() == dtype) return x;
  return make_variable(
      "cast", x.value().to(dtype), {&x},
      [from = x.dtype()](const Tensor& dy) -> std::vector<Tensor> { return {dy.to(from)}; });
}

}  // namespace gradus
