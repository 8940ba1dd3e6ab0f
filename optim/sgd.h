// Stochastic gradient descent.
#pragma once

#include <gradus/optim/optimizer.h>
#include <gradus/tensor/optimizer_updates.h>

namespace gradus::optim {

/// d = g + weight_decay p; m = momentum m + d (m = d at first); p -= lr (nesterov ? d + momentum m
/// : m), as in PyTorch. State: "momentum", if there is momentum.
class Sgd : public Optimizer {
 public:
  struct Options {
    double lr = 0.1;  ///< of a step() that is given none
    double momentum = 0;
    bool nesterov = false;  ///< needs momentum
  };

  Sgd(std::vector<ParameterGroup> groups, const Options& options);
  Sgd(std::vector<NamedParameter> parameters, const Options& options)
      : Sgd(one_group(std::move(parameters)), options) {}

 protected:
  std::vector<std::string> slot_names() const override;
  Tensor steps(const std::vector<Coming>& updates) const override;
  void update(const std::vector<Trainee>& trainees, Tensor& steps, const Tensor& guard) override;

 private:
  SgdRule rule_;
};

}  // namespace gradus::optim
