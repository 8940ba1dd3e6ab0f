// LARS: You, Gitman and Ginsburg, "Large batch training of convolutional networks", 2017.
#pragma once

#include <gradus/optim/optimizer.h>
#include <gradus/tensor/optimizer_updates.h>

namespace gradus::optim {

using gradus::LarsForm;

/// The trust ratio's two forms and its options are those of LarsRule.
struct LarsOptions {
  LarsForm form = LarsForm::decayed_gradient;
  double momentum = 0.9;
  double trust = 0.001;  ///< trust coefficient
  double eps = 1e-8;     ///< of separate_norms
  bool clip = true;      ///< of separate_norms: q = min(q / lr, 1)
};

/// What solo-learn's CIFAR-10 recipes use.
inline LarsOptions solo_learn_lars() { return {.form = LarsForm::separate_norms, .trust = 0.02}; }

/// d = q (g + weight_decay p); m = momentum m + d; p -= lr m. In groups with adapt off, q = 1.
/// State: "momentum".
class Lars : public Optimizer {
 public:
  Lars(std::vector<ParameterGroup> groups, const LarsOptions& options = {});

 protected:
  std::vector<std::string> slot_names() const override { return {"momentum"}; }
  Tensor steps(const std::vector<Coming>& updates) const override;
  void update(const std::vector<Trainee>& trainees, Tensor& steps, const Tensor& guard) override;

 private:
  LarsRule trust_;
  SgdRule rule_;
};

}  // namespace gradus::optim
