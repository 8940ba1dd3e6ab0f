// Adam (Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015) and AdamW
// (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019), as in PyTorch.
#pragma once

#include <gradus/optim/optimizer.h>
#include <gradus/tensor/optimizer_updates.h>

namespace gradus::optim {

/// m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
/// p -= lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps), with g += weight_decay p before.
/// State: "exp_avg" m and "exp_avg_sq" v.
class Adam : public Optimizer {
 public:
  struct Options {
    double lr = 1e-3;  ///< of a step() that is given none
    double beta1 = 0.9;
    double beta2 = 0.999;
    double eps = 1e-8;
  };

  Adam(std::vector<ParameterGroup> groups, const Options& options)
      : Adam(std::move(groups), options, false) {}
  Adam(std::vector<NamedParameter> parameters, const Options& options)
      : Adam(one_group(std::move(parameters)), options) {}

 protected:
  Adam(std::vector<ParameterGroup> groups, const Options& options, bool decoupled);
  std::vector<std::string> slot_names() const override { return {"exp_avg", "exp_avg_sq"}; }
  Tensor steps(const std::vector<Coming>& updates) const override;
  void update(const std::vector<Trainee>& trainees, Tensor& steps, const Tensor& guard) override;

 private:
  AdamRule rule_;
};

/// Adam with p -= lr weight_decay p in place of the decay in the gradient.
class AdamW : public Adam {
 public:
  AdamW(std::vector<ParameterGroup> groups, const Options& options)
      : Adam(std::move(groups), options, true) {}
  AdamW(std::vector<NamedParameter> parameters, const Options& options)
      : AdamW(one_group(std::move(parameters)), options) {}
};

}  // namespace gradus::optim
