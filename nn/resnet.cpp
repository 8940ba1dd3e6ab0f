#include <gradus/nn/resnet.h>

#include <gradus/autograd/checkpoint.h>
#include <gradus/autograd/ops.h>
#include <gradus/nn/fused.h>

namespace gradus::nn {
namespace {

/// A convolution as torchvision's ResNet has it: "same" padding, no bias.
std::unique_ptr<Conv2d> residual_conv(std::int64_t in, std::int64_t out, std::int64_t kernel,
                                      std::int64_t stride, Generator& generator) {
  return std::make_unique<Conv2d>(Conv2d::Options{.in_channels = in,
                                                  .out_channels = out,
                                                  .kernel = kernel,
                                                  .stride = stride,
                                                  .padding = kernel / 2,
                                                  .bias = false,
                                                  .init = ConvInit::kaiming_normal_fan_out},
                                  generator);
}

std::unique_ptr<BatchNorm2d> batch_norm_layer(std::int64_t channels) {
  return std::make_unique<BatchNorm2d>(BatchNorm2d::Options{.channels = channels});
}

std::unique_ptr<Conv2d> stem_conv(const ResNet::Options& options, Generator& generator) {
  Conv2d::Options conv{.in_channels = options.in_channels,
                       .out_channels = options.width,
                       .kernel = 3,
                       .padding = options.stem_padding,
                       .bias = options.stem_bias};
  if (options.stem == Stem::imagenet) {
    conv.kernel = 7;
    conv.stride = 2;
    conv.padding = 3;
    conv.init = ConvInit::kaiming_normal_fan_out;
  }
  return std::make_unique<Conv2d>(conv, generator);
}

const ResNet::Options& validated(const ResNet::Options& options) {
  for (const std::int64_t blocks : options.layers) {
    check(blocks > 0, "resnet", "each stage needs at least one block; got {}", blocks);
  }
  check(options.width > 0 && options.in_channels > 0, "resnet",
        "width and in_channels must be positive; got {} and {}", options.width,
        options.in_channels);
  check(options.stem_padding >= 0 && options.fc_features >= 0, "resnet",
        "stem_padding and fc_features must not be negative; got {} and {}", options.stem_padding,
        options.fc_features);
  return options;
}

/// Whether each part of a module is in training.
std::vector<bool> modes_of(Module& module) {
  std::vector<bool> modes;
  module.visit([&](const std::string&, Module& part) { modes.push_back(part.training()); });
  return modes;
}

/// In the other mode, batch norm would compute something else the second time.
void check_modes(Module& module, const std::vector<bool>& modes) {
  check(modes_of(module) == modes, "checkpoint",
        "train() or eval() was called between the forward pass and backward");
}

}  // namespace

BasicBlock::BasicBlock(std::int64_t in_channels, std::int64_t out_channels, std::int64_t stride,
                       Generator& generator)
    : conv1(add("conv1", residual_conv(in_channels, out_channels, 3, stride, generator))),
      bn1(add("bn1", batch_norm_layer(out_channels))),
      conv2(add("conv2", residual_conv(out_channels, out_channels, 3, 1, generator))),
      bn2(add("bn2", batch_norm_layer(out_channels))) {
  if (stride == 1 && in_channels == out_channels) return;
  downsample = &add("downsample", std::make_unique<Sequential>());
  downsample_conv =
      &downsample->add(residual_conv(in_channels, out_channels, 1, stride, generator));
  downsample->add(batch_norm_layer(out_channels));
}

Variable BasicBlock::forward(const Variable& x) {
  if (!checkpointed) return residual(x);
  return checkpoint(
      [this, modes = modes_of(*this)](const std::vector<Variable>& inputs) {
        check_modes(*this, modes);
        return residual(inputs[0]);
      },
      {x});
}

Variable BasicBlock::residual(const Variable& x) {
  if (fusion_enabled()) return fused::basic_block(*this, x);
  Variable y = relu(bn1(conv1(x)));
  y = bn2(conv2(y));
  return relu(y + shortcut(x));
}

Variable BasicBlock::shortcut(const Variable& x) {
  return downsample != nullptr ? (*downsample)(x) : x;
}

ResNet::ResNet(const Options& options, Generator& generator)
    : conv1(add("conv1", stem_conv(validated(options), generator))),
      bn1(add("bn1", batch_norm_layer(options.width))),
      layer1(add_stage(0, options, generator)),
      layer2(add_stage(1, options, generator)),
      layer3(add_stage(2, options, generator)),
      layer4(add_stage(3, options, generator)),
      options_(options) {
  if (options_.fc_features == 0) return;
  fc = &add<Linear>("fc", {.in_features = 8 * options_.width, .out_features = options_.fc_features},
                    generator);
}

std::int64_t ResNet::feature_count() const {
  return options_.fc_features > 0 ? options_.fc_features : 8 * options_.width;
}

void ResNet::checkpoint_activations(bool on) {
  checkpointed_ = on;
  visit([on](const std::string&, Module& module) {
    if (auto* block = dynamic_cast<BasicBlock*>(&module)) block->checkpointed = on;
  });
}

Sequential& ResNet::add_stage(int stage, const Options& options, Generator& generator) {
  auto blocks = std::make_unique<Sequential>();
  const std::int64_t channels = options.width << stage;
  for (std::int64_t i = 0; i < options.layers[static_cast<std::size_t>(stage)]; ++i) {
    const bool first_of_later_stage = i == 0 && stage > 0;
    auto& block = blocks->add(
        std::make_unique<BasicBlock>(first_of_later_stage ? channels / 2 : channels, channels,
                                     first_of_later_stage ? 2 : 1, generator));
    if (options.zero_init_residual) block.bn2.weight.value().fill(0);
  }
  return add(fmt::format("layer{}", stage + 1), std::move(blocks));
}

Variable ResNet::stem(const Variable& x) {
  const Variable y = fusion_enabled() ? fused::conv_norm_relu(conv1, bn1, x) : relu(bn1(conv1(x)));
  return options_.stem == Stem::imagenet ? max_pool2d(y, {.kernel = 3, .stride = 2, .padding = 1})
                                         : y;
}

Variable ResNet::forward(const Variable& x) {
  Variable y;
  if (checkpointed_) {
    const auto stem_again = [this, modes = modes_of(bn1)](const std::vector<Variable>& in) {
      check_modes(bn1, modes);
      return stem(in[0]);
    };
    y = recomputed(stem_again, {x});
  } else {
    y = stem(x);
  }
  y = layer4(layer3(layer2(layer1(y))));  // [N, H / 8, W / 8, 8 width]
  y = global_avg_pool2d(y);               // [N, 8 width]
  return fc != nullptr ? (*fc)(y) : y;
}

}  // namespace gradus::nn
