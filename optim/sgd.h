// Stochastic gradient descent.
#pragma once

#include "optim/optimizer.h"

namespace gradus::optim {

struct SgdOptions {
  double momentum = 0;
  bool nesterov = false;  ///< needs momentum
};

/// d = g + weight_decay p; m = momentum m + d (m = d at first); p -= lr (nesterov ? d + momentum m
/// : m), as in PyTorch. State: "momentum", if there is momentum.
class Sgd : public Optimizer {
 public:
  Sgd(std::vector<ParameterGroup> groups, const SgdOptions& options = {});

 protected:
  std::vector<std::string> slot_names() const override;
  void update(Tensor& parameter, const Tensor& gradient, const ParameterGroup& group, double lr,
              ParameterState& state) override;

 private:
  SgdOptions options_;
};

}  // namespace gradus::optim
