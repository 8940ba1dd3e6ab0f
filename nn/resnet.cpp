#include <gradus/nn/resnet.h>

#include <gradus/autograd/checkpoint.h>
#include <gradus/autograd/ops.h>
#include <gradus/nn/fused.h>

namespace gradus::nn {
namespace {

/// A convolution as torchvision's ResNet has it: "same" padding, no bias.
Conv2d::Options residual_conv(std::int64_t in, std::int64_t out, std::int64_t kernel,
                              std::int64_t stride) {
  return {.in_channels = in,
          .out_channels = out,
          .kernel = kernel,
          .stride = stride,
          .padding = kernel / 2,
          .bias = false,
          .init = ConvInit::kaiming_normal_fan_out};
}

Conv2d::Options stem_conv(const ResNet::Options& options) {
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
  return conv;
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

/// How a module ran in the forward pass, for backward to run it again in the same way.
class SameAgain {
 public:
  explicit SameAgain(Module& module) : module_(module), modes_(modes()), fuses_(fusion_enabled()) {}

  template <class Body>
  Variable operator()(const Body& body) const {
    // In the other mode, batch norm would compute something else.
    check(modes() == modes_, "checkpoint",
          "train() or eval() was called between the forward pass and backward");
    if (fuses_) return body();
    const NoFusion layer_by_layer;
    return body();
  }

 private:
  /// Whether each part of the module is in training.
  std::vector<bool> modes() const {
    std::vector<bool> modes;
    module_.visit([&](const std::string&, Module& part) { modes.push_back(part.training()); });
    return modes;
  }

  Module& module_;
  std::vector<bool> modes_;
  bool fuses_;
};

}  // namespace

BasicBlock::BasicBlock(const Options& o, Generator& generator)
    : conv1(add<Conv2d>("conv1", residual_conv(o.in_channels, o.out_channels, 3, o.stride),
                        generator)),
      bn1(add<BatchNorm2d>("bn1", {.channels = o.out_channels})),
      conv2(add<Conv2d>("conv2", residual_conv(o.out_channels, o.out_channels, 3, 1), generator)),
      bn2(add<BatchNorm2d>("bn2", {.channels = o.out_channels})) {
  if (o.stride == 1 && o.in_channels == o.out_channels) return;
  downsample = &add<Sequential>("downsample");
  downsample_conv = &downsample->add<Conv2d>(
      residual_conv(o.in_channels, o.out_channels, 1, o.stride), generator);
  downsample->add<BatchNorm2d>({.channels = o.out_channels});
}

Variable BasicBlock::forward(const Variable& x) {
  if (!checkpointed) return residual(x);
  return checkpoint(
      [this, again = SameAgain(*this)](const std::vector<Variable>& inputs) {
        return again([&] { return residual(inputs[0]); });
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
    : conv1(add<Conv2d>("conv1", stem_conv(validated(options)), generator)),
      bn1(add<BatchNorm2d>("bn1", {.channels = options.width})),
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
  auto& blocks = add<Sequential>(fmt::format("layer{}", stage + 1));
  const std::int64_t channels = options.width << stage;
  for (std::int64_t i = 0; i < options.layers[static_cast<std::size_t>(stage)]; ++i) {
    const bool halves = i == 0 && stage > 0;  // the images, for twice as many channels
    auto& block = blocks.add<BasicBlock>({.in_channels = halves ? channels / 2 : channels,
                                          .out_channels = channels,
                                          .stride = halves ? 2 : 1},
                                         generator);
    if (options.zero_init_residual) block.bn2.weight.value().fill(0);
  }
  return blocks;
}

Variable ResNet::stem(const Variable& x) {
  const Variable y = fusion_enabled() ? fused::conv_norm_relu(conv1, bn1, x) : relu(bn1(conv1(x)));
  return options_.stem == Stem::imagenet ? max_pool2d(y, {.kernel = 3, .stride = 2, .padding = 1})
                                         : y;
}

Variable ResNet::forward(const Variable& x) {
  Variable y;
  if (checkpointed_) {
    y = recomputed(
        [this, again = SameAgain(bn1)](const std::vector<Variable>& inputs) {
          return again([&] { return stem(inputs[0]); });
        },
        {x});
  } else {
    y = stem(x);
  }
  y = layer4(layer3(layer2(layer1(y))));  // [N, H / 8, W / 8, 8 width]
  y = global_avg_pool2d(y);               // [N, 8 width]
  return fc != nullptr ? (*fc)(y) : y;
}

}  // namespace gradus::nn
