// Errors are those of the plain lines.
#include <gradus/tensor/ops_fused.h>
#include "tensor/backend/fused_kernels.h"
#include "tensor/ops/conv.h"
#include "tensor/ops/norm.h"
#include "tensor/ops/support.h"

namespace gradus {
namespace {

void check_fuses(std::string_view op, const Tensor& x) {
  check(fuses_batch_norm_conv2d(x.device()), op,
        "the {} back end does not compute it as one; call the operations one after the other",
        name(x.device()));
}

/// Room for a convolution's output, of x's type, and its statistics.
WithStatistics<Tensor> empty_with_statistics(std::string_view op, const Conv2dGeometry& g,
                                             const Tensor& x) {
  check(g.N >= 1, op, "an output without images has no statistics; got input {}", x.shape());
  Tensor output = empty(output_shape(g), options_of(x));
  return {output, {empty_channels(output), empty_channels(output)}};
}

}  // namespace

Tensor batch_norm_relu(const Tensor& x, const BatchStatistics& statistics, const Tensor& gamma,
                       const Tensor& beta, const BatchNormOptions& options,
                       const Tensor& residual) {
  return normalise(x, statistics, gamma, beta, options.eps, residual, true);
}

BatchNormReluGradients batch_norm_relu_backward(const Tensor& dy, const Tensor& x, const Tensor& y,
                                                const BatchStatistics& statistics,
                                                const Tensor& gamma, const Tensor& beta,
                                                const BatchNormOptions& options) {
  return normalise_backward(dy, x, y, statistics, gamma, beta, options, true);
}

bool fuses_batch_norm_conv2d(Device device) { return has_fused_kernels(device); }

WithStatistics<Tensor> conv2d_with_statistics(const Tensor& input, const Tensor& weight,
                                              const Conv2dOptions& options) {
  constexpr std::string_view op = "conv2d";
  check_parameter(op, "input", input, "weight", weight);
  const Conv2dGeometry g = conv2d_geometry(op, input.shape(), weight.shape(), options);
  WithStatistics<Tensor> y = empty_with_statistics(op, g, input);
  dispatch_floating(op, input.dtype(), [&]<class T>() {
    using A = Compute<T>;
    GRADUS_KERNEL(
        input.device(),
        conv2d_with_statistics(input.data<T>(), weight.data<A>(), y.output.data<T>(),
                               y.statistics.mean.data<A>(), y.statistics.variance.data<A>(), g));
  });
  return y;
}

WithStatistics<Tensor> batch_norm_relu_conv2d(const Tensor& x, const BatchStatistics& statistics,
                                              const Tensor& gamma, const Tensor& beta, double eps,
                                              const Tensor& weight, const Conv2dOptions& options) {
  constexpr std::string_view op = "conv2d";
  check_batch_norm("batch_norm", x, statistics, gamma, beta, eps);
  check_parameter(op, "x", x, "weight", weight);
  check_fuses(op, x);
  const Conv2dGeometry g = conv2d_geometry(op, x.shape(), weight.shape(), options);
  WithStatistics<Tensor> y = empty_with_statistics(op, g, x);
  dispatch_floating(op, x.dtype(), [&]<class T>() {
    using A = Compute<T>;
    cpu::batch_norm_relu_conv2d(x.data<T>(), statistics.mean.data<A>(),
                                statistics.variance.data<A>(), gamma.data<A>(), beta.data<A>(), eps,
                                weight.data<A>(), y.output.data<T>(), y.statistics.mean.data<A>(),
                                y.statistics.variance.data<A>(), g);
  });
  return y;
}

Tensor batch_norm_relu_conv2d_backward_weight(const Tensor& x, const BatchStatistics& statistics,
                                              const Tensor& gamma, const Tensor& beta, double eps,
                                              const Tensor& doutput, const Shape& weight_shape,
                                              const Conv2dOptions& options) {
  constexpr std::string_view op = "conv2d_backward_weight";
  check_batch_norm("batch_norm", x, statistics, gamma, beta, eps);
  check_same_kind(op, "x", x, "doutput", doutput);
  check_fuses(op, x);
  const Conv2dGeometry g = conv2d_geometry(op, x.shape(), weight_shape, options);
  check_shape(op, "doutput", doutput, output_shape(g));
  Tensor dweight = empty(weight_shape, {compute_dtype(x.dtype()), x.device()});
  dispatch_floating(op, x.dtype(), [&]<class T>() {
    using A = Compute<T>;
    cpu::batch_norm_relu_conv2d_backward_weight(
        x.data<T>(), statistics.mean.data<A>(), statistics.variance.data<A>(), gamma.data<A>(),
        beta.data<A>(), eps, doutput.data<T>(), dweight.data<A>(), g);
  });
  return dweight;
}

BatchNormGradients batch_norm_relu_conv2d_backward_input(const Tensor& doutput, const Tensor& x,
                                                         const BatchStatistics& statistics,
                                                         const Tensor& gamma, const Tensor& beta,
                                                         double eps, const Tensor& weight,
                                                         const Conv2dOptions& options) {
  constexpr std::string_view op = "conv2d_backward_input";
  check_batch_norm("batch_norm", x, statistics, gamma, beta, eps);
  check_same_kind(op, "x", x, "doutput", doutput);
  check_parameter(op, "doutput", doutput, "weight", weight);
  check_fuses(op, x);
  const Conv2dGeometry g = conv2d_geometry(op, x.shape(), weight.shape(), options);
  check_shape(op, "doutput", doutput, output_shape(g));
  BatchNormGradients result{.dx = empty(x.shape(), options_of(x)),
                            .dgamma = empty_channels(x),
                            .dbeta = empty_channels(x)};
  dispatch_floating(op, x.dtype(), [&]<class T>() {
    using A = Compute<T>;
    cpu::batch_norm_relu_conv2d_backward_input(
        doutput.data<T>(), x.data<T>(), statistics.mean.data<A>(), statistics.variance.data<A>(),
        gamma.data<A>(), beta.data<A>(), eps, weight.data<A>(), result.dx.data<T>(),
        result.dgamma.data<A>(), result.dbeta.data<A>(), g);
  });
  return result;
}

}  // namespace gradus
