#include <gradus/nn/conv2d.h>

#include <gradus/nn/init.h>

namespace gradus::nn {

Conv2d::Conv2d(const Options& options, Generator& generator) : options_(options) {
  const auto& o = options_;
  check(o.in_channels > 0 && o.out_channels > 0, "conv2d",
        "in_channels and out_channels must be positive; got {} and {}", o.in_channels,
        o.out_channels);
  check(o.groups > 0 && o.in_channels % o.groups == 0 && o.out_channels % o.groups == 0, "conv2d",
        "groups must divide in_channels and out_channels; got groups {}, channels {} and {}",
        o.groups, o.in_channels, o.out_channels);
  check(o.kernel.height > 0 && o.kernel.width > 0, "conv2d", "kernel must be positive; got {} x {}",
        o.kernel.height, o.kernel.width);
  const Shape shape{o.out_channels, o.kernel.height, o.kernel.width, o.in_channels / o.groups};
  const std::int64_t fan_in = Shape{shape[1], shape[2], shape[3]}.numel();
  weight = Variable(o.init == ConvInit::kaiming_normal_fan_out
                        ? kaiming_normal_fan_out(shape, generator)
                        : uniform_fan_in(shape, fan_in, generator),
                    true);
  if (o.bias) bias = Variable(uniform_fan_in({o.out_channels}, fan_in, generator), true);
  register_parameter("weight", weight, Layout::conv_weight);
  register_parameter("bias", bias);
}

Variable Conv2d::forward(const Variable& x) { return conv2d(x, weight, bias, op_options()); }

Conv2dOptions Conv2d::op_options() const {
  return {.stride = options_.stride,
          .padding = options_.padding,
          .dilation = options_.dilation,
          .groups = options_.groups,
          .winograd = options_.winograd};
}

void use_winograd(Module& module, bool on) {
  module.visit([on](const std::string&, Module& part) {
    if (auto* const conv = dynamic_cast<Conv2d*>(&part)) conv->use_winograd(on);
  });
}

}  // namespace gradus::nn
