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
  if (!next.training() || conv.bias.defined()) return {conv(x), {}};
  return conv.named([&] { return conv2d_with_statistics(x, conv.weight, conv.op_options()); });
}

/// function(inputs), whose value is not kept for backward but computed again there, where the
/// device's back end gains by that.
Variable recomputed_if_it_pays(const CheckpointedFunction& function,
                               const std::vector<Variable>& inputs) {
  return recomputation_pays(inputs[0].device()) ? recomputed(function, inputs) : function(inputs);
}

/// conv(x), likewise.
Variable recomputed_conv(Conv2d& conv, const Variable& x) {
  return conv.named([&] {
    return recomputed_if_it_pays(
        [weight = conv.weight, bias = conv.bias, options = conv.op_options()](
            const std::vector<Variable>& in) { return conv2d(in[0], weight, bias, options); },
        {x});
  });
}

/// relu(norm(x)), or relu(norm(x) + residual).
Variable norm_relu(BatchNorm& norm, const WithStatistics<Variable>& x,
                   const Variable& residual = {}) {
  return norm.named([&] {
    return batch_norm_relu(x.output, norm.statistics(x.output, x.statistics), norm.gamma(),
                           norm.beta(), norm.op_options(), residual);
  });
}

/// relu(norm(x)), likewise recomputed.
Variable recomputed_norm_relu(BatchNorm& norm, const WithStatistics<Variable>& x) {
  return norm.named([&] {
    return recomputed_if_it_pays(
        [statistics = norm.statistics(x.output, x.statistics),
         options = norm.op_options()](const std::vector<Variable>& in) {
          return batch_norm_relu(in[0], statistics, in[1], in[2], options);
        },
        {x.output, norm.gamma(), norm.beta()});
  });
}

/// block.shortcut(x), with its convolution recomputed.
Variable shortcut(BasicBlock& block, const Variable& x) {
  if (block.downsample == nullptr) return x;
  Sequential& layers = *block.downsample;
  return layers.named([&] { return layers[1](recomputed_conv(*block.downsample_conv, x)); });
}

}  // namespace

NoFusion::NoFusion() { ++no_fusion_depth; }
NoFusion::~NoFusion() { --no_fusion_depth; }

bool fusion_enabled() { return no_fusion_depth == 0; }

namespace fused {

Variable conv_norm_relu(Conv2d& conv, BatchNorm& norm, const Variable& x) {
  if (recomputation_pays(x.device())) return norm_relu(norm, {recomputed_conv(conv, x), {}});
  return norm_relu(norm, conv_for(norm, conv, x));
}

Variable basic_block(BasicBlock& block, const Variable& x) {
  const auto y = conv_for(block.bn2, block.conv2,
                          recomputed_norm_relu(block.bn1, conv_for(block.bn1, block.conv1, x)));
  return norm_relu(block.bn2, y, shortcut(block, x));
}

Variable projector(Projector& projector, const Variable& x) {
  return projector.network.named([&] {
    Variable y = x;
    for (const auto& [linear, norm] : projector.hidden) y = norm_relu(norm, {linear(y), {}});
    return (*projector.last)(y);
  });
}

VICRegLoss vicreg_loss(const Variable& z, std::int64_t views, const VICRegOptions& options) {
  const Variable values = vicreg_terms(reshape(z, {views, z.size(0) / views, z.size(1)}), options);
  const auto value = [&](std::int64_t i) { return reshape(slice(values, 0, i, i + 1), {}); };
  return {.total = value(0), .invariance = value(1), .variance = value(2), .covariance = value(3)};
}

}  // namespace fused
}  // namespace gradus::nn
