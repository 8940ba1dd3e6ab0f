// Two-dimensional convolution layer.
#pragma once

#include <gradus/autograd/ops.h>
#include <gradus/nn/module.h>

namespace gradus::nn {

/// How a convolution's weight starts; the bias always has PyTorch's default.
enum class ConvInit : std::uint8_t {
  uniform_fan_in,          ///< PyTorch's default
  kaiming_normal_fan_out,  ///< torchvision's ResNet
};

/// gradus::conv2d with weight [O, kH, kW, I / groups] and bias [O]:
/// [N, H, W, in_channels] -> [N, H', W', out_channels]. Draws weight, then bias.
class Conv2d : public Module {
 public:
  /// Both channel counts and the kernel must be positive, and groups divide both counts; the rest
  /// is as in Conv2dOptions.
  struct Options {
    std::int64_t in_channels = 0;
    std::int64_t out_channels = 0;
    Size2 kernel = 1;
    Size2 stride = 1;
    Size2 padding = 0;
    Size2 dilation = 1;
    std::int64_t groups = 1;
    bool bias = true;
    bool winograd = true;
    ConvInit init = ConvInit::uniform_fan_in;
  };

  Conv2d(const Options& options, Generator& generator);

  const Options& options() const { return options_; }
  /// The part of the options that gradus::conv2d takes.
  Conv2dOptions op_options() const;
  /// Changes the option: from the next call on.
  void use_winograd(bool on) { options_.winograd = on; }
  Variable weight, bias;  ///< bias is undefined without one

 protected:
  Variable forward(const Variable& x) override;

 private:
  Options options_;
};

/// Calls use_winograd for every convolution in `module`.
void use_winograd(Module& module, bool on);

}  // namespace gradus::nn
