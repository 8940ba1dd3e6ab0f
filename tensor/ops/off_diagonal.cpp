#include <gradus/tensor/ops.h>
#include "tensor/ops/support.h"

namespace gradus {
namespace {

void check_square(std::string_view op, const Tensor& x) {
  check_floating(op, "x", x);
  check(x.rank() >= 2 && x.size(-2) == x.size(-1), op,
        "x must be a square matrix, or several; got {}", x.shape());
}

std::int64_t matrix_count(const Tensor& x) {
  return x.numel() == 0 ? 0 : x.numel() / (x.size(-1) * x.size(-1));
}

}  // namespace

Tensor off_diagonal_square_sum(const Tensor& x) {
  constexpr std::string_view op = "off_diagonal_square_sum";
  check_square(op, x);
  Tensor y = empty({}, {compute_dtype(x.dtype()), x.device()});
  dispatch_floating(op, x.dtype(), [&]<class T>() {
    GRADUS_KERNEL(x.device(), off_diagonal_square_sum(x.data<T>(), y.data<Compute<T>>(),
                                                      matrix_count(x), x.size(-1)));
  });
  return y;
}

Tensor off_diagonal_square_sum_backward(const Tensor& dy, const Tensor& x) {
  constexpr std::string_view op = "off_diagonal_square_sum_backward";
  check_square(op, x);
  check_parameter(op, "x", x, "dy", dy);
  check_shape(op, "dy", dy, {});
  Tensor dx = empty(x.shape(), options_of(x));
  dispatch_floating(op, x.dtype(), [&]<class T>() {
    GRADUS_KERNEL(x.device(),
                  off_diagonal_square_sum_backward(dy.data<Compute<T>>(), x.data<T>(), dx.data<T>(),
                                                   matrix_count(x), x.size(-1)));
  });
  return dx;
}

}  // namespace gradus
