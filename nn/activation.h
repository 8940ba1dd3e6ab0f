// Activation layers.
#pragma once

#include <gradus/autograd/ops.h>
#include <gradus/nn/module.h>

namespace gradus::nn {

/// max(x, 0)
class ReLU : public Module {
 protected:
  Variable forward(const Variable& x) override { return relu(x); }
};

/// x Phi(x), the exact form. Hendrycks and Gimpel, "Gaussian error linear units", 2016.
class GELU : public Module {
 protected:
  Variable forward(const Variable& x) override { return gelu(x); }
};

}  // namespace gradus::nn
