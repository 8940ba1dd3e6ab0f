// Applies a function of tensor/elementwise.h to a tensor; shared with autograd/ops.
#pragma once

#include <string_view>

#include <gradus/tensor/elementwise.h>
#include <gradus/tensor/tensor.h>

namespace gradus {

/// y = function.forward(x). Defined for GRADUS_UNARY_FUNCTIONS, in tensor/ops/elementwise.cpp.
template <class Function>
Tensor unary_forward(std::string_view op, Function function, const Tensor& x);

/// dx = function.backward(dy, saved); `saved` is undefined where the function saves nothing.
template <class Function>
Tensor unary_backward(Function function, const Tensor& dy, const Tensor& saved);

}  // namespace gradus
