// What the tests of convolution on the GPU share: a case, its random inputs, and the three passes
// by the ops and by the plain reference kernels.
#pragma once

#include <string>
#include <vector>

#include <gradus/tensor/ops.h>
#include "tensor/cuda/conv/conv_reference.h"
#include "tests/support/numbers.h"

namespace gradus::test {

struct ConvCase {
  std::string name;
  Shape input, weight;
  Conv2dOptions options = {};
  bool bias = true;
};

struct ConvInputs {
  Tensor input, weight, bias, doutput;
};

/// Random inputs on the GPU; activations of `dtype`.
inline ConvInputs random_inputs(const ConvCase& c, DType dtype) {
  const auto draw = [&](const Shape& shape, unsigned seed, DType type) {
    return random_tensor<float>(shape, seed).to(type);
  };
  const DType parameters = compute_dtype(dtype);
  const Tensor input = draw(c.input, 1, dtype), weight = draw(c.weight, 2, parameters);
  const Tensor bias = c.bias ? draw({c.weight[0]}, 3, parameters) : Tensor();
  const Shape output = conv2d(input, weight, {}, c.options).shape();
  return {input.to(Device::cuda), weight.to(Device::cuda),
          bias.defined() ? bias.to(Device::cuda) : Tensor(),
          draw(output, 4, dtype).to(Device::cuda)};
}

struct ConvResults {
  Tensor output, dinput, dweight;
};

inline ConvResults run_ops(const ConvInputs& in, const Conv2dOptions& options) {
  return {conv2d(in.input, in.weight, in.bias, options),
          conv2d_backward_input(in.doutput, in.weight, in.input.shape(), options),
          conv2d_backward_weight(in.doutput, in.input, in.weight.shape(), options)};
}

inline Conv2dGeometry geometry(const ConvInputs& in, const Conv2dOptions& options) {
  const Shape &x = in.input.shape(), &w = in.weight.shape(), &y = in.doutput.shape();
  return {.N = x[0],
          .H = x[1],
          .W = x[2],
          .C = x[3],
          .O = w[0],
          .out_height = y[1],
          .out_width = y[2],
          .kernel = {w[1], w[2]},
          .stride = options.stride,
          .padding = options.padding,
          .dilation = options.dilation,
          .groups = options.groups};
}

template <class T>
ConvResults run_reference(const ConvInputs& in, const Conv2dOptions& options) {
  const Conv2dGeometry g = geometry(in, options);
  ConvResults r{empty(in.doutput.shape(), options_of(in.doutput)),
                empty(in.input.shape(), options_of(in.input)),
                empty(in.weight.shape(), options_of(in.weight))};
  const auto* weight = in.weight.data<Compute<T>>();
  cuda::reference::conv2d(in.input.data<T>(), weight,
                          in.bias.defined() ? in.bias.data<Compute<T>>() : nullptr,
                          r.output.data<T>(), g);
  cuda::reference::conv2d_backward_input(in.doutput.data<T>(), weight, r.dinput.data<T>(), g);
  cuda::reference::conv2d_backward_weight(in.input.data<T>(), in.doutput.data<T>(),
                                          r.dweight.data<Compute<T>>(), g);
  return r;
}

/// x as float64 on the CPU.
inline Tensor exact(const Tensor& x) { return x.to(Device::cpu).to(DType::float64); }

}  // namespace gradus::test
