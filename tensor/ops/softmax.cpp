#include <gradus/tensor/ops.h>
#include "tensor/ops/support.h"

namespace gradus {
namespace {

Rows as_rows(std::string_view op, const Tensor& x) {
  check(x.rank() >= 1, op, "needs at least one axis; got a scalar");
  return rows_of(x);
}

}  // namespace

Tensor softmax(const Tensor& x) {
  check_floating("softmax", "x", x);
  const auto [rows, columns] = as_rows("softmax", x);
  Tensor y = empty(x.shape(), options_of(x));
  dispatch_floating("softmax", x.dtype(), [&, rows = rows, columns = columns]<class T>() {
    GRADUS_KERNEL(x.device(), softmax(x.data<T>(), y.data<T>(), rows, columns));
  });
  return y;
}

Tensor softmax_backward(const Tensor& dy, const Tensor& y) {
  check_like("softmax_backward", "dy", dy, "y", y);
  const auto [rows, columns] = as_rows("softmax_backward", y);
  Tensor dx = empty(y.shape(), options_of(y));
  dispatch_floating("softmax_backward", y.dtype(), [&, rows = rows, columns = columns]<class T>() {
    GRADUS_KERNEL(y.device(),
                  softmax_backward(dy.data<T>(), y.data<T>(), dx.data<T>(), rows, columns));
  });
  return dx;
}

Tensor log_softmax(const Tensor& x) {
  check_floating("log_softmax", "x", x);
  const auto [rows, columns] = as_rows("log_softmax", x);
  Tensor y = empty(x.shape(), options_of(x));
  dispatch_floating("log_softmax", x.dtype(), [&, rows = rows, columns = columns]<class T>() {
    GRADUS_KERNEL(x.device(), log_softmax(x.data<T>(), y.data<T>(), rows, columns));
  });
  return y;
}

Tensor log_softmax_backward(const Tensor& dy, const Tensor& y) {
  check_like("log_softmax_backward", "dy", dy, "y", y);
  const auto [rows, columns] = as_rows("log_softmax_backward", y);
  Tensor dx = empty(y.shape(), options_of(y));
  dispatch_floating(
      "log_softmax_backward", y.dtype(), [&, rows = rows, columns = columns]<class T>() {
        GRADUS_KERNEL(y.device(),
                      log_softmax_backward(dy.data<T>(), y.data<T>(), dx.data<T>(), rows, columns));
      });
  return dx;
}

}  // namespace gradus
