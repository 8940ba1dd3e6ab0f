// Layers that compute nothing.
#pragma once

#include <gradus/autograd/ops.h>
#include <gradus/nn/module.h>

namespace gradus::nn {

/// y = x
class Identity : public Module {
 protected:
  Variable forward(const Variable& x) override { return x; }
};

/// [N, ...] -> [N, the product of the rest]. Images flatten in the order H, W, C (PyTorch: C, H,
/// W).
class Flatten : public Module {
 protected:
  Variable forward(const Variable& x) override { return flatten(x); }
};

}  // namespace gradus::nn
