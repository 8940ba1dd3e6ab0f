#include <gradus/nn/fused.h>

#include <gradus/autograd/ops_fused.h>
#include <gradus/nn/projector.h>
#include <gradus/nn/resnet.h>

namespace gradus::nn {
namespace {

thread_local int no_fusion_depth = 0;

/// relu(norm(x)), or relu(norm(x) + residual).
Variable norm_relu(BatchNorm& norm, const Variable& x, const Variable& residual = {}) {
  return norm.named([&] {
    return batch_norm_relu(x, norm.statistics(x), norm.gamma(), norm.beta(), norm.op_options(),
                           residual);
  });
}

/// conv(relu(norm(x))). On a GPU the pass over memory that it takes to compute what is between
/// again costs more than its memory is worth.
Variable norm_relu_conv(BatchNorm& norm, Conv2d& conv, const Variable& x) {
  if (!norm.training() || conv.bias || x.device() != Device::cpu) return conv(norm_relu(norm, x));
  return norm.named([&] {
    return batch_norm_relu_conv2d(x, norm.statistics(x), norm.gamma(), norm.beta(),
                                  norm.options().eps, conv.weight, conv.op_options());
  });
}

}  // namespace

NoFusion::NoFusion() { ++no_fusion_depth; }
NoFusion::~NoFusion() { --no_fusion_depth; }

bool fusion_enabled() { return no_fusion_depth == 0; }

namespace fused {

Variable conv_norm_relu(Conv2d& conv, BatchNorm& norm, const Variable& x) {
  return norm_relu(norm, conv(x));
}

Variable basic_block(BasicBlock& block, const Variable& x) {
  const Variable y = norm_relu_conv(block.bn1, block.conv2, block.conv1(x));
  return norm_relu(block.bn2, y, block.shortcut(x));
}

Variable projector(Projector& projector, const Variable& x) {
  return projector.network.named([&] {
    Variable y = x;
    for (const auto& [linear, norm] : projector.hidden) y = norm_relu(norm, linear(y));
    return (*projector.last)(y);
  });
}

}  // namespace fused
}  // namespace gradus::nn
