// LARS: the trust ratio by which it scales the updates of SGD with momentum. No fmt here: nvcc
// reads this header.
#pragma once

#include <cstdint>

#include <gradus/optim/sgd_update.h>

namespace gradus::optim {

/// Where programs differ in the trust ratio q, with w the weight decay:
enum class LarsForm : std::uint8_t {
  /// q = trust |p| / |g + w p|; 1 if a norm is 0. VICReg's own program, Barlow Twins.
  decayed_gradient,
  /// q = trust |p| / (|g| + w |p| + eps), and min(q / lr, 1) if `clip`: the gradient then counts
  /// min(q, lr) times, so a schedule of lr shrinks a step only where lr is below q. Without decay
  /// if a norm is 0. solo-learn, Lightning's examples.
  separate_norms,
};

/// The constants of LARS. It updates as sgd_update.h says, with this momentum and the q above.
struct LarsOptions {
  double lr = 0.1;  ///< of a step() that is given none
  LarsForm form = LarsForm::decayed_gradient;
  double momentum = 0.9;  ///< finite, not negative
  bool nesterov = false;  ///< needs momentum
  double trust = 0.001;   ///< trust coefficient, positive
  double eps = 1e-8;      ///< of separate_norms; not negative
  bool clip = true;       ///< of separate_norms: see there
};

/// The w in |g + w p|, the second norm that set_trust wants.
GRADUS_HOST_DEVICE inline double decay_in_norm(const LarsOptions& options,
                                               const SgdUpdate& update) {
  return options.form == LarsForm::decayed_gradient ? update.weight_decay : 0;
}

/// Gives an update of SGD with momentum, if it is to adapt, the trust ratio q of its tensor, from
/// |p| and |g + decay_in_norm p|. You, Gitman and Ginsburg, "Large batch training of convolutional
/// networks", 2017.
GRADUS_HOST_DEVICE inline void set_trust(const LarsOptions& options, double parameter_norm,
                                         double gradient_norm, SgdUpdate& update) {
  if (!update.adapt) return;
  if (options.form == LarsForm::decayed_gradient) {
    const bool usable = parameter_norm > 0 && gradient_norm > 0;
    update.q = usable ? options.trust * parameter_norm / gradient_norm : 1;
  } else if (parameter_norm == 0 || gradient_norm == 0) {
    update.weight_decay = 0;
  } else {
    const double q = options.trust * parameter_norm /
                     (gradient_norm + update.weight_decay * parameter_norm + options.eps);
    const double relative = q / update.lr;
    update.q = !options.clip ? q : relative > 1 ? 1 : relative;
  }
}

}  // namespace gradus::optim
