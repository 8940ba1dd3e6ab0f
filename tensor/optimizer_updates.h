// The arithmetic of the optimisers' updates, written once for both back ends.
//
// An update goes over all parameters in one call. What stays the same throughout training is a
// Rule, handed to kernels by value. What may change from step to step is a Step for each parameter:
// it lies in the device's memory, where a captured graph, whose arguments are frozen, finds it.
#pragma once

#include <cmath>
#include <cstdint>

#include <gradus/tensor/host_device.h>

namespace gradus {

// --- stochastic gradient descent ---

/// With d = gradient_scale (g + weight_decay p):
///   first step: m = d, later m = momentum m + d  (m = d without momentum)
///   p -= lr (nesterov ? d + momentum m : m)
/// PyTorch's SGD; LARS is this with its trust ratio as gradient_scale.
struct SgdRule {
  double momentum = 0;
  bool nesterov = false;
};

struct SgdStep {
  double lr = 0.1;
  double weight_decay = 0;
  double gradient_scale = 1;
  double first = 0;  ///< 1 where the momentum buffer holds nothing yet
  double adapt = 0;  ///< 1 where lars_trust sets gradient_scale and weight_decay
};

/// The update of one element, in T.
template <class T>
struct SgdElement {
  T lr, momentum, decay, scale;
  bool nesterov, first;

  GRADUS_HOST_DEVICE SgdElement(const SgdRule& rule, const SgdStep& step)
      : lr(static_cast<T>(step.lr)),
        momentum(static_cast<T>(rule.momentum)),
        decay(static_cast<T>(step.weight_decay)),
        scale(static_cast<T>(step.gradient_scale)),
        nesterov(rule.nesterov),
        first(step.first != 0) {}

  GRADUS_HOST_DEVICE void operator()(T& p, T g) const { p -= lr * (scale * (g + decay * p)); }
  GRADUS_HOST_DEVICE void operator()(T& p, T g, T& m) const {
    const T d = scale * (g + decay * p);
    m = first ? d : momentum * m + d;
    p -= lr * (nesterov ? d + momentum * m : m);
  }
};

// --- LARS's trust ratio ---

/// Where programs differ in the trust ratio q, with w the weight decay:
enum class LarsForm : std::uint8_t {
  /// q = trust |p| / |g + w p|; 1 if a norm is 0. VICReg's own program, Barlow Twins.
  decayed_gradient,
  /// q = trust |p| / (|g| + w |p| + eps), clipped to at most lr if `clip`; without decay if a norm
  /// is 0. solo-learn, Lightning's examples.
  separate_norms,
};

/// You, Gitman and Ginsburg, "Large batch training of convolutional networks", 2017.
struct LarsRule {
  LarsForm form = LarsForm::decayed_gradient;
  double trust = 0.001;  ///< trust coefficient
  double eps = 1e-8;     ///< of separate_norms
  bool clip = true;      ///< of separate_norms: q = min(q / lr, 1)
};

/// The w in |g + w p|, the second norm that set_trust wants.
GRADUS_HOST_DEVICE inline double decay_in_norm(const LarsRule& rule, const SgdStep& step) {
  return rule.form == LarsForm::decayed_gradient ? step.weight_decay : 0;
}

/// Sets gradient_scale to q, from |p| and |g + decay_in_norm p|.
GRADUS_HOST_DEVICE inline void set_trust(const LarsRule& rule, double parameter_norm,
                                         double gradient_norm, SgdStep& step) {
  if (step.adapt == 0) return;
  if (rule.form == LarsForm::decayed_gradient) {
    const bool usable = parameter_norm > 0 && gradient_norm > 0;
    step.gradient_scale = usable ? rule.trust * parameter_norm / gradient_norm : 1;
  } else if (parameter_norm == 0 || gradient_norm == 0) {
    step.weight_decay = 0;
  } else {
    const double q = rule.trust * parameter_norm /
                     (gradient_norm + step.weight_decay * parameter_norm + rule.eps);
    const double relative = q / step.lr;
    step.gradient_scale = !rule.clip ? q : relative > 1 ? 1 : relative;
  }
}

// --- Adam ---

/// With g += weight_decay p (L2), or p -= lr weight_decay p (decoupled):
///   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
///   p -= lr / (1 - beta1^step) m / (sqrt(v / (1 - beta2^step)) + eps)
/// Kingma and Ba, "Adam", 2015; decoupled: Loshchilov and Hutter, "AdamW", 2019.
struct AdamRule {
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
  bool decoupled = false;
};

/// Made by adam_step (tensor/optimizer_ops.h).
struct AdamStep {
  double step_size = 1e-3;  ///< lr / (1 - beta1^step)
  double root_scale = 1;    ///< 1 / sqrt(1 - beta2^step)
  double decay = 0;         ///< weight_decay, or 0 if decoupled
  double shrink = 1;        ///< 1, or 1 - lr weight_decay if decoupled
};

/// The update of one element, in T.
template <class T>
struct AdamElement {
  T beta1, beta2, new1, new2, eps, step_size, root_scale, decay, shrink;

  GRADUS_HOST_DEVICE AdamElement(const AdamRule& rule, const AdamStep& step)
      : beta1(static_cast<T>(rule.beta1)),
        beta2(static_cast<T>(rule.beta2)),
        new1(static_cast<T>(1 - rule.beta1)),
        new2(static_cast<T>(1 - rule.beta2)),
        eps(static_cast<T>(rule.eps)),
        step_size(static_cast<T>(step.step_size)),
        root_scale(static_cast<T>(step.root_scale)),
        decay(static_cast<T>(step.decay)),
        shrink(static_cast<T>(step.shrink)) {}

  GRADUS_HOST_DEVICE void operator()(T& parameter, T gradient, T& mean, T& square) const {
    const T p = shrink * parameter;
    const T g = gradient + decay * p;
    const T m = beta1 * mean + new1 * g;
    const T v = beta2 * square + new2 * g * g;
    mean = m;
    square = v;
    parameter = p - step_size * m / (std::sqrt(v) * root_scale + eps);
  }
};

// --- clipping and guarding ---

/// Neither infinite nor NaN.
template <class T>
GRADUS_HOST_DEVICE bool is_finite(T x) {
  return x - x == 0;
}

/// max_norm / (norm + 1e-6) if that is below 1, else 1; 1 where the norm is not finite.
GRADUS_HOST_DEVICE inline double clip_factor(double norm, double max_norm) {
  const double factor = max_norm / (norm + 1e-6);
  return is_finite(norm) && factor < 1 ? factor : 1;
}

// --- what kernels are given for each tensor: [n] each; n is 0 where there is no gradient ---

template <class T>
struct SgdPointers {
  T* parameter;
  const T* gradient;
  T* momentum;  ///< null without momentum
  std::int64_t n;
};
template <class T>
struct AdamPointers {
  T* parameter;
  const T* gradient;
  T *mean, *square;
  std::int64_t n;
};
template <class T>
struct GradientPointers {
  T* gradient;
  std::int64_t n;
};

}  // namespace gradus
