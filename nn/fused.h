// Layers that run as one: fewer passes over memory, and fewer activations kept for backward.
//
// Layers are written as they are meant (nn/resnet.cpp, nn/projector.cpp); where fusion_enabled(),
// they call one of these functions instead. Each has the result of the plain lines in its
// docstring. In float64 all of it but the loss has the same bits; in float32 values and running
// statistics have, and gradients differ in their last digits (tensor/ops_fused.h says why). In
// bfloat16 a sum that is not stored in between is not rounded there.
#pragma once

#include <gradus/autograd/variable.h>
#include <gradus/nn/vicreg_loss.h>

namespace gradus::nn {

class BatchNorm;
class BasicBlock;
class Conv2d;
class Projector;

/// While one is alive, this thread's layers run one by one, as written: a ForwardObserver then sees
/// the output of each, where of layers that run as one it sees what they give together.
class NoFusion {
 public:
  NoFusion();
  ~NoFusion();
  NoFusion(const NoFusion&) = delete;
  NoFusion& operator=(const NoFusion&) = delete;
};

/// Whether this thread's layers may run as one.
bool fusion_enabled();

namespace fused {

/// relu(norm(conv(x))). On the CPU the convolution's output is not kept for backward but computed
/// again.
Variable conv_norm_relu(Conv2d& conv, BatchNorm& norm, const Variable& x);

/// y = relu(bn1(conv1(x)));
/// y = bn2(conv2(y));
/// relu(y + shortcut(x))
///
/// On the CPU the outputs of the first ReLU and of the downsample's convolution are not kept for
/// backward but computed again.
Variable basic_block(BasicBlock& block, const Variable& x);

/// projector.network(x)
Variable projector(Projector& projector, const Variable& x);

/// vicreg_loss(z, views, options), adding up in another order.
VICRegLoss vicreg_loss(const Variable& z, std::int64_t views, const VICRegOptions& options);

}  // namespace fused
}  // namespace gradus::nn
