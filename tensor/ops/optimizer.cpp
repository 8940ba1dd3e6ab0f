#include "tensor/optimizer_ops.h"

#include <cmath>

#include "tensor/ops/support.h"

namespace gradus {

void sgd_update(Tensor& parameter, const Tensor& gradient, Tensor& momentum,
                const SgdUpdate& update) {
  check_same_kind("sgd_update", "parameter", parameter, "gradient", gradient);
  check_shape("sgd_update", "gradient", gradient, parameter.shape());
  if (update.momentum != 0) check_shape("sgd_update", "momentum", momentum, parameter.shape());
  dispatch_full_precision("sgd_update", parameter.dtype(), [&]<class T>() {
    T* buffer = update.momentum != 0 ? momentum.data<T>() : nullptr;
    GRADUS_KERNEL(parameter.device(), sgd_update(parameter.data<T>(), gradient.data<T>(), buffer,
                                                 update, parameter.numel()));
  });
}

void adam_update(Tensor& parameter, const Tensor& gradient, Tensor& mean, Tensor& square,
                 const AdamUpdate& update) {
  check_same_kind("adam_update", "parameter", parameter, "gradient", gradient);
  check_shape("adam_update", "gradient", gradient, parameter.shape());
  check_shape("adam_update", "mean", mean, parameter.shape());
  check_shape("adam_update", "square", square, parameter.shape());
  check(update.step >= 1, "adam_update", "steps count from 1; got {}", update.step);
  dispatch_full_precision("adam_update", parameter.dtype(), [&]<class T>() {
    GRADUS_KERNEL(parameter.device(),
                  adam_update(parameter.data<T>(), gradient.data<T>(), mean.data<T>(),
                              square.data<T>(), update, parameter.numel()));
  });
}

double norm(const Tensor& x, const Tensor& y, double scale) {
  check_floating("norm", "x", x);
  const bool combined = scale != 0;
  if (combined) {
    check_same_kind("norm", "x", x, "y", y);
    check_shape("norm", "y", y, x.shape());
  }
  double squares = 0;
  dispatch_full_precision("norm", x.dtype(), [&]<class T>() {
    const T* other = combined ? y.data<T>() : nullptr;
    GRADUS_KERNEL(x.device(), sum_of_squares(x.data<T>(), other, scale, x.numel(), &squares));
  });
  return std::sqrt(squares);
}

}  // namespace gradus
