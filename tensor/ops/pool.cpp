#include <gradus/tensor/ops.h>
#include "tensor/ops/support.h"
#include "tensor/ops/window.h"

namespace gradus {
namespace {

/// The sizes of a pooling, with the input's shape and all options checked.
Pool2dGeometry pool2d_geometry(std::string_view op, const Shape& input,
                               const Pool2dOptions& options) {
  const auto [kernel, given_stride, padding, count_include_pad] = options;
  const Size2 stride = given_stride == Size2(0) ? kernel : given_stride;
  check(input.rank() == 4, op, "input must be [N, H, W, C]; got {}", input);
  check(kernel.height >= 1 && kernel.width >= 1, op, "kernel must be at least 1; got {} x {}",
        kernel.height, kernel.width);
  check(stride.height >= 1 && stride.width >= 1, op, "stride must be at least 1; got {} x {}",
        stride.height, stride.width);
  check(padding.height >= 0 && padding.width >= 0, op, "padding must not be negative; got {} x {}",
        padding.height, padding.width);
  check(padding.height <= kernel.height / 2 && padding.width <= kernel.width / 2, op,
        "padding must be at most half the kernel; got padding {} x {}, kernel {} x {}",
        padding.height, padding.width, kernel.height, kernel.width);
  WindowAxis rows{input[1], kernel.height, stride.height, padding.height};
  WindowAxis columns{input[2], kernel.width, stride.width, padding.width};
  const std::int64_t out_height = output_positions(op, rows);
  const std::int64_t out_width = output_positions(op, columns);
  const Pool2dGeometry g{.N = input[0],
                         .H = input[1],
                         .W = input[2],
                         .C = input[3],
                         .out_height = out_height,
                         .out_width = out_width,
                         .kernel = kernel,
                         .stride = {rows.stride, columns.stride},
                         .padding = padding,
                         .count_include_pad = count_include_pad};
  check(g.H >= 1 && g.W >= 1 && g.out_height >= 1 && g.out_width >= 1, op,
        "the kernel is larger than the padded image; got input {}, kernel {} x {}, padding {} x {}",
        input, kernel.height, kernel.width, padding.height, padding.width);
  return g;
}

Shape output_shape(const Pool2dGeometry& g) { return {g.N, g.out_height, g.out_width, g.C}; }

}  // namespace

MaxResult max_pool2d(const Tensor& input, const Pool2dOptions& options) {
  constexpr std::string_view op = "max_pool2d";
  check_floating(op, "input", input);
  const Pool2dGeometry g = pool2d_geometry(op, input.shape(), options);
  MaxResult result{empty(output_shape(g), options_of(input)),
                   empty(output_shape(g), {DType::int64, input.device()})};
  dispatch_floating(op, input.dtype(), [&]<class T>() {
    GRADUS_KERNEL(input.device(), max_pool2d(input.data<T>(), result.values.data<T>(),
                                             result.indices.data<std::int64_t>(), g));
  });
  return result;
}

Tensor max_pool2d_backward(const Tensor& doutput, const Tensor& indices, const Shape& input_shape,
                           const Pool2dOptions& options) {
  constexpr std::string_view op = "max_pool2d_backward";
  check_floating(op, "doutput", doutput);
  const Pool2dGeometry g = pool2d_geometry(op, input_shape, options);
  check_shape(op, "doutput", doutput, output_shape(g));
  check_shape(op, "indices", indices, output_shape(g));
  check_index(op, "indices", indices, doutput.device());
  Tensor dinput = empty(input_shape, options_of(doutput));
  dispatch_floating(op, doutput.dtype(), [&]<class T>() {
    GRADUS_KERNEL(
        doutput.device(),
        max_pool2d_backward(doutput.data<T>(), indices.data<std::int64_t>(), dinput.data<T>(), g));
  });
  return dinput;
}

Tensor avg_pool2d(const Tensor& input, const Pool2dOptions& options) {
  constexpr std::string_view op = "avg_pool2d";
  check_floating(op, "input", input);
  const Pool2dGeometry g = pool2d_geometry(op, input.shape(), options);
  Tensor output = empty(output_shape(g), options_of(input));
  dispatch_floating(op, input.dtype(), [&]<class T>() {
    GRADUS_KERNEL(input.device(), avg_pool2d(input.data<T>(), output.data<T>(), g));
  });
  return output;
}

Tensor avg_pool2d_backward(const Tensor& doutput, const Shape& input_shape,
                           const Pool2dOptions& options) {
  constexpr std::string_view op = "avg_pool2d_backward";
  check_floating(op, "doutput", doutput);
  const Pool2dGeometry g = pool2d_geometry(op, input_shape, options);
  check_shape(op, "doutput", doutput, output_shape(g));
  Tensor dinput = empty(input_shape, options_of(doutput));
  dispatch_floating(op, doutput.dtype(), [&]<class T>() {
    GRADUS_KERNEL(doutput.device(), avg_pool2d_backward(doutput.data<T>(), dinput.data<T>(), g));
  });
  return dinput;
}

Tensor global_avg_pool2d(const Tensor& input) {
  check_floating("global_avg_pool2d", "input", input);
  check(input.rank() == 4, "global_avg_pool2d", "input must be [N, H, W, C]; got {}",
        input.shape());
  return mean(input, {1, 2});
}

}  // namespace gradus
