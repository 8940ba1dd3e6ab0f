#include <gradus/nn/fused.h>

#include <gradus/autograd/checkpoint.h>
#include <gradus/autograd/ops_fused.h>
#include <gradus/nn/projector.h>
#include <gradus/nn/resnet.h>

namespace gradus::nn {
namespace {

thread_local int no_fusion_depth = 0;

/// conv(x), with its statistics where `next`, the batch norm that follows, will ask for them.
WithStatistics<Variable> conv_for(const BatchNorm& next, Conv2d& conv, const Variable& x) {
  if (!next.training() || conv.bias) return {conv(x), {}};
  return conv.named([&] { return conv2d_with_statistics(x, conv.weight, conv.op_options()); });
}

/// relu(norm(x)), or relu(norm(x) + residual).
Variable norm_relu(BatchNorm& norm, const WithStatistics<Variable>& x,
                   const Variable& residual = {}) {
  return norm.named([&] {
    return batch_norm_relu(x.output, norm.statistics(x.output, x.statistics), norm.gamma(),
                           norm.beta(), norm.op_options(), residual);
  });
}

/// conv(relu(norm(x))), with its statistics for `next`. On a GPU the pass over memory that it takes
/// to compute what is between again costs more than its memory is worth.
WithStatistics<Variable> norm_relu_conv_for(const BatchNorm& next, BatchNorm& norm, Conv2d& conv,
                                            const WithStatistics<Variable>& x) {
  if (!norm.training() || conv.bias || x.output.device() != Device::cpu) {
    return conv_for(next, conv, norm_relu(norm, x));
  }
  const Variable y = norm.named([&] {
    return batch_norm_relu_conv2d(x.output, norm.statistics(x.output, x.statistics), norm.gamma(),
                                  norm.beta(), norm.op_options(), conv.weight, conv.op_options());
  });
  return {y, {}};
}

/// function(x), of which on the CPU in training only x is kept for backward: for what takes much
/// memory and little time to compute again.
template <class Function>
Variable recomputed(bool training, const Function& function, const Variable& x) {
  if (!training || x.device() != Device::cpu) return function(x);
  return checkpoint([function](const std::vector<Variable>& inputs) { return function(inputs[0]); },
                    {x});
}

}  // namespace

NoFusion::NoFusion() { ++no_fusion_depth; }
NoFusion::~NoFusion() { --no_fusion_depth; }

bool fusion_enabled() { return no_fusion_depth == 0; }

namespace fused {

Variable conv_norm_relu(Conv2d& conv, BatchNorm& norm, const Variable& x) {
  return recomputed(
      norm.training(),
      [&](const Variable& input) { return norm_relu(norm, conv_for(norm, conv, input)); }, x);
}

Variable basic_block(BasicBlock& block, const Variable& x) {
  const auto y =
      norm_relu_conv_for(block.bn2, block.bn1, block.conv2, conv_for(block.bn1, block.conv1, x));
  const Variable shortcut =
      block.downsample == nullptr
          ? x
          : recomputed(
                block.training(), [&](const Variable& input) { return block.shortcut(input); }, x);
  return norm_relu(block.bn2, y, shortcut);
}

Variable projector(Projector& projector, const Variable& x) {
  return projector.network.named([&] {
    Variable y = x;
    for (const auto& [linear, norm] : projector.hidden) y = norm_relu(norm, {linear(y), {}});
    return (*projector.last)(y);
  });
}

}  // namespace fused
}  // namespace gradus::nn
