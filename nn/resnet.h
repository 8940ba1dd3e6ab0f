// ResNet-18 and ResNet-34 (He et al., "Deep residual learning for image recognition", CVPR 2016),
// with torchvision's names.
#pragma once

#include <array>

#include <gradus/nn/batch_norm.h>
#include <gradus/nn/conv2d.h>
#include <gradus/nn/linear.h>
#include <gradus/nn/sequential.h>

namespace gradus::nn {

/// The layers before the first stage, but for batch norm and ReLU.
enum class Stem : std::uint8_t {
  cifar,     ///< 3x3 convolution of stride 1, for small images
  imagenet,  ///< 7x7 convolution of stride 2, then 3x3 max-pooling of stride 2
};

/// relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)), the shortcut a strided 1x1 convolution with
/// batch norm (`downsample`) where the shape changes: [N, H, W, in_channels] -> [N, H / stride,
/// W / stride, out_channels], rounded up. conv1 and conv2 are 3x3, and conv1 has the stride.
class BasicBlock : public Module {
 public:
  struct Options {
    std::int64_t in_channels = 0, out_channels = 0;
    std::int64_t stride = 1;
  };
  BasicBlock(const Options& options, Generator& generator);

  Conv2d& conv1;
  BatchNorm2d& bn1;
  Conv2d& conv2;
  BatchNorm2d& bn2;
  Sequential* downsample = nullptr;   ///< null where the shortcut is the identity
  Conv2d* downsample_conv = nullptr;  ///< its first layer
  /// downsample(x), or x.
  Variable shortcut(const Variable& x);
  /// Whether only the input is kept for backward, where the block, which must live until then,
  /// computes the rest again. Backward throws Error if train() or eval() has changed its mode.
  bool checkpointed = false;

 protected:
  Variable forward(const Variable& x) override;

 private:
  Variable residual(const Variable& x);
};

/// Images [N, H, W, in_channels] -> features [N, feature_count()].
///
/// Convolutions start from kaiming_normal_fan_out, as in torchvision. The CIFAR stem keeps
/// PyTorch's default instead, as in programs that replace torchvision's conv1 after it has been
/// initialised. Weights are drawn in the order of the names.
class ResNet : public Module {
 public:
  /// Numbers of blocks and channels must be positive, the others not negative.
  struct Options {
    std::array<std::int64_t, 4> layers{2, 2, 2, 2};  ///< blocks in each of the four stages
    std::int64_t width = 64;  ///< channels of the first stage; each later stage doubles them
    std::int64_t in_channels = 3;
    Stem stem = Stem::cifar;
    std::int64_t stem_padding = 1;    ///< of the CIFAR stem; 1 keeps the image's size
    bool stem_bias = false;           ///< a bias in front of batch norm: only for compatibility
    std::int64_t fc_features = 0;     ///< outputs of a last linear layer `fc`; 0 leaves it out
    bool zero_init_residual = false;  ///< the last batch norm of each block starts with weight 0
  };

  ResNet(const Options& options, Generator& generator);

  const Options& options() const { return options_; }
  /// Size of the output: 8 width (512 for ResNet-18), or fc_features.
  std::int64_t feature_count() const;
  /// Makes every block keep nothing but its input for backward, which computes what is inside
  /// again, and the first block's input, too, from x. That needs less memory and about a third more
  /// time; results are the same to the bit. The network must live, in its mode, until backward
  /// (BasicBlock).
  void checkpoint_activations(bool on = true);

  Conv2d& conv1;
  BatchNorm2d& bn1;
  Sequential& layer1;
  Sequential& layer2;
  Sequential& layer3;
  Sequential& layer4;
  Linear* fc = nullptr;

 protected:
  Variable forward(const Variable& x) override;

 private:
  Sequential& add_stage(int stage, const Options& options, Generator& generator);
  /// What layer1 takes: [N, H, W, width], or with the ImageNet stem [N, H / 4, W / 4, width].
  Variable stem(const Variable& x);

  Options options_;
  bool checkpointed_ = false;
};

/// The defaults, 2 blocks in each stage: ResNet-18 for small images.
inline ResNet::Options resnet18() { return {}; }
/// The same with the 3, 4, 6 and 3 blocks of ResNet-34.
inline ResNet::Options resnet34() { return {.layers = {3, 4, 6, 3}}; }

}  // namespace gradus::nn
