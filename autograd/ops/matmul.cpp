#include <gradus/autograd/ops.h>
#include <gradus/autograd/saved_tensor.h>
#include <gradus/tensor/beside.h>

namespace gradus {

// For c = s op(a) op(b):  d op(a) = s dc op(b)^T,  d op(b) = s op(a)^T dc; transposed where op
// transposes. A float32 product of bfloat16 matrices has its gradient rounded to their type first.
Variable matmul(const Variable& a, const Variable& b, MatmulOptions options) {
  const bool need_a = a.requires_grad(), need_b = b.requires_grad();
  return make_variable(
      "matmul", matmul(a.value(), b.value(), options), {&a, &b},
      [a_saved = SavedTensor(need_b ? a : Variable()),
       b_saved = SavedTensor(need_a ? b : Variable()), ta = options.transpose_a,
       tb = options.transpose_b, scale = options.scale,
       dtype = a.dtype()](const Tensor& doutput) -> std::vector<Tensor> {
        const Tensor a_value = a_saved.get(), b_value = b_saved.get();
        const Tensor dc = doutput.to(dtype);
        std::vector<Tensor> gradients(2);
        if (b_value.defined())
          gradients[0] =
              ta ? matmul(b_value, dc, {.transpose_a = tb, .transpose_b = true, .scale = scale})
                 : matmul(dc, b_value, {.transpose_a = false, .transpose_b = !tb, .scale = scale});
        if (a_value.defined())
          gradients[1] =
              tb ? matmul(dc, a_value, {.transpose_a = true, .transpose_b = ta, .scale = scale})
                 : matmul(a_value, dc, {.transpose_a = !ta, .transpose_b = false, .scale = scale});
        return gradients;
      });
}

namespace {

void check_linear(const Variable& x, const Variable& weight, const Variable& bias) {
  check(x.defined() && is_floating(x.dtype()), "linear",
        "x must be float32, float64 or bfloat16; got {}",
        x.defined() ? name(x.dtype()) : "an undefined one");
  check(weight.shape().rank() == 2 && x.shape().rank() >= 1 && x.size(-1) == weight.size(1),
        "linear", "x's last axis must match weight's input features; got x {}, weight {}",
        x.shape(), weight.shape());
  check(!bias.defined() || bias.shape() == Shape{weight.size(0)}, "linear",
        "bias must have shape [{}]; got {}", weight.size(0), bias.shape());
  const DType parameters = compute_dtype(x.dtype());
  check(weight.dtype() == parameters && (!bias.defined() || bias.dtype() == parameters), "linear",
        "weight and bias must be {} where x is {}; got {}", name(parameters), name(x.dtype()),
        name(weight.dtype() != parameters ? weight.dtype() : bias.dtype()));
}

/// x [rows, in]. The products take their inputs in x's type; dweight and dbias are summed, and
/// stay, in the parameters'.
Variable linear_of_matrix(const Variable& x, const Variable& weight, const Variable& bias) {
  const bool x_grad = x.requires_grad(), weight_grad = weight.requires_grad();
  const bool weight_leaf = weight_grad && weight.node()->leaf;
  const bool bias_grad = bias.requires_grad();
  const Tensor w = weight.value().to(x.dtype());
  Tensor y = matmul(x.value(), w, {.transpose_b = true});
  if (bias.defined()) y = add(y, bias.value().to(x.dtype()));
  return make_variable(
      "linear", std::move(y), {&x, &weight, &bias},
      [x_saved = SavedTensor(weight_grad ? x : Variable()), w = SavedTensor(x_grad ? w : Tensor()),
       weight_leaf, bias_grad, parameters = compute_dtype(x.dtype())](const Tensor& dy) {
        std::vector<Tensor> gradients(3);
        if (x_saved) {  // a parameter's is read when the walk is over: it may be computed beside it
          const Tensor x_value = x_saved.get();
          const Beside beside(weight_leaf, {x_value, dy});
          gradients[1] = matmul(dy, x_value, {.transpose_a = true, .output_dtype = parameters});
        }
        if (w) gradients[0] = matmul(dy, w.get());
        if (bias_grad) gradients[2] = sum(dy.to(parameters), {0});
        return gradients;
      });
}

}  // namespace

Variable linear(const Variable& x, const Variable& weight, const Variable& bias) {
  check_linear(x, weight, bias);
  if (x.shape().rank() == 2) return linear_of_matrix(x, weight, bias);
  Shape shape = x.shape();
  shape[-1] = 1;
  const std::int64_t rows = shape.numel();
  shape[-1] = weight.size(0);
  return reshape(linear_of_matrix(reshape(x, {rows, x.size(-1)}), weight, bias), shape);
}

}  // namespace gradus
