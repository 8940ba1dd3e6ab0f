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

/// [N, ...] -> [N, the product of the rest]. Images [N, H, W, C] flatten in the order C, H, W, as
/// PyTorch's do: the weight of a Linear behind it is then PyTorch's as it stands, and moves between
/// the two. (The function flatten keeps our order, H, W, C.)
class Flatten : public Module {
 protected:
  Variable forward(const Variable& x) override {
    return flatten(x.shape().rank() == 4 ? permute(x, {0, 3, 1, 2}) : x);
  }
};

}  // namespace gradus::nn
