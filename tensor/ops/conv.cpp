#include <gradus/tensor/ops.h>
#include <gradus/tensor/ops_fused.h>
#include "tensor/ops/support.h"
#include "tensor/ops/window.h"

namespace gradus {
namespace {

void check_options(std::string_view op, const Conv2dOptions& options) {
  const auto [stride, padding, dilation, groups, winograd] = options;
  check(stride.height >= 1 && stride.width >= 1, op, "stride must be at least 1; got {} x {}",
        stride.height, stride.width);
  check(padding.height >= 0 && padding.width >= 0, op, "padding must not be negative; got {} x {}",
        padding.height, padding.width);
  check(dilation.height >= 1 && dilation.width >= 1, op, "dilation must be at least 1; got {} x {}",
        dilation.height, dilation.width);
  check(groups >= 1, op, "groups must be at least 1; got {}", groups);
}

/// The sizes of a convolution, with everything about its shapes checked.
Conv2dGeometry conv2d_geometry(std::string_view op, const Shape& input, const Shape& weight,
                               const Conv2dOptions& options) {
  check_options(op, options);
  check(input.rank() == 4, op, "input must be [N, H, W, C]; got {}", input);
  check(weight.rank() == 4, op, "weight must be [O, kH, kW, C / groups]; got {}", weight);
  Conv2dGeometry g{.N = input[0],
                   .H = input[1],
                   .W = input[2],
                   .C = input[3],
                   .O = weight[0],
                   .out_height = 0,
                   .out_width = 0,
                   .kernel = {weight[1], weight[2]},
                   .stride = options.stride,
                   .padding = options.padding,
                   .dilation = options.dilation,
                   .groups = options.groups,
                   .winograd = options.winograd};
  check(g.C >= 1 && g.O >= 1 && g.kernel.height >= 1 && g.kernel.width >= 1, op,
        "channels and kernel must not be empty; got input {}, weight {}", input, weight);
  check(g.C % g.groups == 0 && g.O % g.groups == 0, op,
        "groups ({}) must divide the input's {} and the weight's {} output channels", g.groups, g.C,
        g.O);
  check(g.C / g.groups == weight[3], op,
        "weight's input channels must match the input's last dimension{}; got input {}, weight {}",
        g.groups == 1 ? "" : fmt::format(" divided by {} groups", g.groups), input, weight);
  WindowAxis rows{g.H, g.kernel.height, g.stride.height, g.padding.height, g.dilation.height};
  WindowAxis columns{g.W, g.kernel.width, g.stride.width, g.padding.width, g.dilation.width};
  g.out_height = output_positions(op, rows);
  g.out_width = output_positions(op, columns);
  g.stride = {rows.stride, columns.stride};
  g.dilation = {rows.dilation, columns.dilation};
  check(g.out_height >= 1 && g.out_width >= 1, op,
        "the kernel is larger than the padded image; got input {}, weight {}, padding {} x {}, "
        "dilation {} x {}",
        input, weight, g.padding.height, g.padding.width, options.dilation.height,
        options.dilation.width);
  return g;
}

Shape output_shape(const Conv2dGeometry& g) { return {g.N, g.out_height, g.out_width, g.O}; }

}  // namespace

Tensor conv2d(const Tensor& input, const Tensor& weight, const Tensor& bias,
              const Conv2dOptions& options) {
  constexpr std::string_view op = "conv2d";
  check_parameter(op, "input", input, "weight", weight);
  const Conv2dGeometry g = conv2d_geometry(op, input.shape(), weight.shape(), options);
  if (bias.defined()) {
    check_parameter(op, "input", input, "bias", bias);
    check_shape(op, "bias", bias, {g.O});
  }
  Tensor output = empty(output_shape(g), options_of(input));
  dispatch_floating(op, input.dtype(), [&]<class T>() {
    GRADUS_KERNEL(input.device(), conv2d(input.data<T>(), weight.data<Compute<T>>(),
                                         data_or_null<Compute<T>>(bias), output.data<T>(), g));
  });
  return output;
}

WithStatistics<Tensor> conv2d_with_statistics(const Tensor& input, const Tensor& weight,
                                              const Conv2dOptions& options) {
  constexpr std::string_view op = "conv2d";
  check_parameter(op, "input", input, "weight", weight);
  const Conv2dGeometry g = conv2d_geometry(op, input.shape(), weight.shape(), options);
  check(g.N >= 1, op, "an output without images has no statistics; got input {}", input.shape());
  const auto channels = [&] {
    return empty({g.O}, {compute_dtype(input.dtype()), input.device()});
  };
  WithStatistics<Tensor> y{empty(output_shape(g), options_of(input)), {channels(), channels()}};
  dispatch_floating(op, input.dtype(), [&]<class T>() {
    using A = Compute<T>;
    GRADUS_KERNEL(
        input.device(),
        conv2d_with_statistics(input.data<T>(), weight.data<A>(), y.output.data<T>(),
                               y.statistics.mean.data<A>(), y.statistics.variance.data<A>(), g));
  });
  return y;
}

Tensor conv2d_backward_input(const Tensor& doutput, const Tensor& weight, const Shape& input_shape,
                             const Conv2dOptions& options) {
  constexpr std::string_view op = "conv2d_backward_input";
  check_parameter(op, "doutput", doutput, "weight", weight);
  const Conv2dGeometry g = conv2d_geometry(op, input_shape, weight.shape(), options);
  check_shape(op, "doutput", doutput, output_shape(g));
  Tensor dinput = empty(input_shape, options_of(doutput));
  dispatch_floating(op, doutput.dtype(), [&]<class T>() {
    GRADUS_KERNEL(
        doutput.device(),
        conv2d_backward_input(doutput.data<T>(), weight.data<Compute<T>>(), dinput.data<T>(), g));
  });
  return dinput;
}

Tensor conv2d_backward_weight(const Tensor& doutput, const Tensor& input, const Shape& weight_shape,
                              const Conv2dOptions& options) {
  constexpr std::string_view op = "conv2d_backward_weight";
  check_same_kind(op, "input", input, "doutput", doutput);
  const Conv2dGeometry g = conv2d_geometry(op, input.shape(), weight_shape, options);
  check_shape(op, "doutput", doutput, output_shape(g));
  Tensor dweight = empty(weight_shape, {compute_dtype(doutput.dtype()), doutput.device()});
  dispatch_floating(op, doutput.dtype(), [&]<class T>() {
    GRADUS_KERNEL(doutput.device(), conv2d_backward_weight(input.data<T>(), doutput.data<T>(),
                                                           dweight.data<Compute<T>>(), g));
  });
  return dweight;
}

}  // namespace gradus
