#include "autograd/ops.h"

namespace gradus {

// For c = op(a) op(b):  d op(a) = dc op(b)^T,  d op(b) = op(a)^T dc; transposed where op
// transposes.
Variable matmul(const Variable& a, const Variable& b, MatmulOptions options) {
  const bool need_a = a.requires_grad(), need_b = b.requires_grad();
  return make_variable(
      "matmul", matmul(a.value(), b.value(), options), {&a, &b},
      [a_value = need_b ? a.value() : Tensor(), b_value = need_a ? b.value() : Tensor(),
       ta = options.transpose_a,
       tb = options.transpose_b](const Tensor& dc) -> std::vector<Tensor> {
        std::vector<Tensor> gradients(2);
        if (b_value.defined())
          gradients[0] = ta ? matmul(b_value, dc, {.transpose_a = tb, .transpose_b = true})
                            : matmul(dc, b_value, {.transpose_a = false, .transpose_b = !tb});
        if (a_value.defined())
          gradients[1] = tb ? matmul(dc, a_value, {.transpose_a = true, .transpose_b = ta})
                            : matmul(a_value, dc, {.transpose_a = !ta, .transpose_b = false});
        return gradients;
      });
}

Variable linear(const Variable& x, const Variable& weight, const Variable& bias) {
  check(weight.shape().rank() == 2 && x.shape().rank() >= 1 && x.size(-1) == weight.size(1),
        "linear", "x's last axis must match weight's input features; got x {}, weight {}",
        x.shape(), weight.shape());
  check(!bias.defined() || bias.shape() == Shape{weight.size(0)}, "linear",
        "bias must have shape [{}]; got {}", weight.size(0), bias.shape());
  const bool is_matrix = x.shape().rank() == 2;
  Variable y = matmul(is_matrix ? x : reshape(x, {-1, x.size(-1)}), weight, {.transpose_b = true});
  if (bias.defined()) y = add(y, bias);
  if (is_matrix) return y;
  Shape shape = x.shape();
  shape[-1] = weight.size(0);
  return reshape(y, shape);
}

Variable dropout(const Variable& x, double p, Generator& generator) {
  return mul(x, Variable(dropout_mask(x.shape(), p, generator, options_of(x.value()))));
}

}  // namespace gradus
