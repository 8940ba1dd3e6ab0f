// Stochastic gradient descent.
#pragma once

#include <gradus/optim/optimizer.h>
#include <gradus/tensor/optimizer_updates.h>

namespace gradus::optim {

/// momentum, and nesterov, which needs it.
using SgdOptions = SgdRule;

/// d = g + weight_decay p; m = momentum m + d (m = d at first); p -= lr (nesterov ? d + momentum m
/// : m), as in PyTorch. State: "momentum", if there is momentum.
class Sgd : public Optimizer {
 public:
  Sgd(std::vector<ParameterGroup> groups, const SgdOptions& options = {});

 protected:
  std::vector<std::string> slot_names() const override;
  Tensor steps(const std::vector<Coming>& updates) const override;
  void update(const std::vector<Trainee>& trainees, Tensor& steps, const Tensor& guard) override;

 private:
  SgdRule rule_;
};

}  // namespace gradus::optim
