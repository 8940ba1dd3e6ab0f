#include <gradus/tensor/ops.h>
#include "tensor/ops/support.h"

namespace gradus {
namespace {

/// y of x's shape and dtype: launch(x's elements, y's, rows, columns), a row being x's last axis.
template <class Launch>
Tensor by_rows(std::string_view op, const Tensor& x, const Launch& launch) {
  check(x.rank() >= 1, op, "needs at least one axis; got a scalar");
  const auto [rows, columns] = rows_of(x);
  Tensor y = empty(x.shape(), options_of(x));
  dispatch_floating(op, x.dtype(), [&, rows = rows, columns = columns]<class T>() {
    launch(x.data<T>(), y.data<T>(), rows, columns);
  });
  return y;
}

}  // namespace

Tensor softmax(const Tensor& x) {
  check_floating("softmax", "x", x);
  return by_rows("softmax", x, [&](const auto* from, auto* y, auto rows, auto columns) {
    GRADUS_KERNEL(x.device(), softmax(from, y, rows, columns));
  });
}

Tensor softmax_backward(const Tensor& dy, const Tensor& y) {
  check_like("softmax_backward", "dy", dy, "y", y);
  return by_rows(
      "softmax_backward", y, [&]<class T>(const T* from, T* dx, auto rows, auto columns) {
        GRADUS_KERNEL(y.device(), softmax_backward(dy.data<T>(), from, dx, rows, columns));
      });
}

Tensor log_softmax(const Tensor& x) {
  check_floating("log_softmax", "x", x);
  return by_rows("log_softmax", x, [&](const auto* from, auto* y, auto rows, auto columns) {
    GRADUS_KERNEL(x.device(), log_softmax(from, y, rows, columns));
  });
}

Tensor log_softmax_backward(const Tensor& dy, const Tensor& y) {
  check_like("log_softmax_backward", "dy", dy, "y", y);
  return by_rows(
      "log_softmax_backward", y, [&]<class T>(const T* from, T* dx, auto rows, auto columns) {
        GRADUS_KERNEL(y.device(), log_softmax_backward(dy.data<T>(), from, dx, rows, columns));
      });
}

}  // namespace gradus
