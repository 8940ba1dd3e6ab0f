// Stochastic gradient descent: its arithmetic. No fmt here: nvcc reads this header.
#pragma once

#include <gradus/tensor/host_device.h>

namespace gradus::optim {

/// The constants of the rule below.
struct SgdOptions {
  double lr = 0.1;        ///< of a step() that is given none
  double momentum = 0;    ///< finite, not negative
  bool nesterov = false;  ///< needs momentum
};

/// The t'th update, t = 1, 2, ..., of a parameter p from its gradient g, as in PyTorch:
///
///   d = q (g + weight_decay p)
///   m = momentum m + d;  m = d for t = 1
///   p -= lr (nesterov ? d + momentum m : m)
///
/// and without momentum p -= lr d. q is 1, or the trust ratio of LARS (lars_update.h).
struct SgdUpdate {
  static constexpr const char* name = "sgd_update";
  static constexpr double flops = 7;  ///< operations of an element

  double lr = 0;
  double weight_decay = 0;
  double q = 1;
  double momentum = 0;
  bool nesterov = false;
  bool first = false;  ///< t = 1: m holds nothing yet
  bool adapt = false;  ///< whether LARS, if it is that, sets q

  /// One element, in T, without momentum.
  template <class T>
  GRADUS_HOST_DEVICE void operator()(T& p, T g) const {
    p -= T(lr) * (T(q) * (g + T(weight_decay) * p));
  }
  /// One element, in T.
  template <class T>
  GRADUS_HOST_DEVICE void operator()(T& p, T g, T& m) const {
    const T d = T(q) * (g + T(weight_decay) * p);
    m = first ? d : T(momentum) * m + d;
    p -= T(lr) * (nesterov ? d + T(momentum) * m : m);
  }
};

}  // namespace gradus::optim
