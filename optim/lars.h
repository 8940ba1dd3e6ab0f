// LARS: You, Gitman and Ginsburg, "Large batch training of convolutional networks", 2017.
#pragma once

#include "optim/optimizer.h"

namespace gradus::optim {

/// Where programs differ in the trust ratio q, with w the weight decay:
enum class LarsForm : std::uint8_t {
  /// q = trust |p| / |g + w p|; 1 if a norm is 0. VICReg's own program, Barlow Twins.
  decayed_gradient,
  /// q = trust |p| / (|g| + w |p| + eps), clipped to at most lr if `clip`; without decay if a norm
  /// is 0. solo-learn, Lightning's examples.
  separate_norms,
};

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
  void update(Tensor& parameter, const Tensor& gradient, const ParameterGroup& group, double lr,
              ParameterState& state) override;

 private:
  LarsOptions options_;
};

}  // namespace gradus::optim
