// Applies a function of tensor/elementwise.h to a tensor; shared with autograd/ops.
#pragma once

#include <string_view>

#include "tensor/elementwise.h"
#include "tensor/ops/support.h"

namespace gradus {

/// y = function.forward(x)
template <class Function>
Tensor unary_forward(std::string_view op, Function function, const Tensor& x) {
  check_floating(op, "x", x);
  Tensor y = empty(x.shape(), options_of(x));
  dispatch_floating(op, x.dtype(), [&]<class T>() {
    GRADUS_KERNEL(x.device(), unary(function, x.data<T>(), y.data<T>(), x.numel()));
  });
  return y;
}

/// dx = function.backward(dy, saved); `saved` is undefined where the function saves nothing.
template <class Function>
Tensor unary_backward(std::string_view op, Function function, const Tensor& dy,
                      const Tensor& saved) {
  Tensor dx = empty(dy.shape(), options_of(dy));
  dispatch_floating(op, dy.dtype(), [&]<class T>() {
    const T* saved_data = saved.defined() ? saved.data<T>() : nullptr;
    GRADUS_KERNEL(dy.device(),
                  unary_backward(function, dy.data<T>(), saved_data, dx.data<T>(), dy.numel()));
  });
  return dx;
}

}  // namespace gradus
