// LARS: You, Gitman and Ginsburg, "Large batch training of convolutional networks", 2017.
#pragma once

#include <gradus/optim/optimizer.h>
#include <gradus/tensor/optimizer_updates.h>

namespace gradus::optim {

using gradus::LarsForm;

/// d = q (g + weight_decay p); m = momentum m + d; p -= lr m. In groups with adapt off, q = 1.
/// State: "momentum".
class Lars : public Optimizer {
 public:
  /// The trust ratio's two forms and its options are those of LarsRule.
  struct Options {
    double lr = 0.1;  ///< of a step() that is given none
    LarsForm form = LarsForm::decayed_gradient;
    double momentum = 0.9;
    double trust = 0.001;  ///< trust coefficient
    double eps = 1e-8;     ///< of separate_norms
    bool clip = true;      ///< of separate_norms: q = min(q / lr, 1)
  };

  Lars(std::vector<ParameterGroup> groups, const Options& options);
  Lars(std::vector<NamedParameter> parameters, const Options& options)
      : Lars(one_group(std::move(parameters)), options) {}

 protected:
  std::vector<std::string> slot_names() const override { return {"momentum"}; }
  Tensor steps(const std::vector<Coming>& updates) const override;
  void update(const std::vector<Trainee>& trainees, Tensor& steps, const Tensor& guard) override;

 private:
  LarsRule trust_;
  SgdRule rule_;
};

/// What solo-learn's CIFAR-10 recipes use.
inline Lars::Options solo_learn_lars() { return {.form = LarsForm::separate_norms, .trust = 0.02}; }

}  // namespace gradus::optim
