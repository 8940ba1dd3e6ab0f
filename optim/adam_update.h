// Adam and AdamW: their arithmetic. No fmt here: nvcc reads this header.
#pragma once

#include <cmath>
#include <cstdint>

#include <gradus/tensor/host_device.h>

namespace gradus::optim {

/// The constants of the rule below, with PyTorch's defaults.
struct AdamOptions {
  double lr = 1e-3;        ///< of a step() that is given none
  double beta1 = 0.9;      ///< in [0, 1)
  double beta2 = 0.999;    ///< in [0, 1)
  double eps = 1e-8;       ///< finite, not negative
  bool decoupled = false;  ///< AdamW: the group's weight decay, 0 unless given, apart from g
};

/// The t'th update, t = 1, 2, ..., of a parameter p from its gradient g, as in PyTorch:
///
///   g += weight_decay p;  if decoupled instead  p -= lr weight_decay p
///   m = beta1 m + (1 - beta1) g
///   v = beta2 v + (1 - beta2) g^2
///   p -= lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps)
///
/// Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015; decoupled: Loshchilov
/// and Hutter, "Decoupled weight decay regularization", ICLR 2019.
struct AdamUpdate {
  static constexpr const char* name = "adam_update";
  static constexpr double flops = 16;  ///< operations of an element

  double beta1, beta2, eps;
  double step_size;   ///< lr / (1 - beta1^t)
  double root_scale;  ///< 1 / sqrt(1 - beta2^t)
  double decay;       ///< in the gradient: weight_decay, or 0 if decoupled
  double shrink;      ///< of p: 1, or 1 - lr weight_decay if decoupled

  AdamUpdate(const AdamOptions& options, double lr, double weight_decay, std::int64_t t)
      : beta1(options.beta1),
        beta2(options.beta2),
        eps(options.eps),
        step_size(lr / (1 - std::pow(beta1, static_cast<double>(t)))),
        root_scale(1 / std::sqrt(1 - std::pow(beta2, static_cast<double>(t)))),
        decay(options.decoupled ? 0 : weight_decay),
        shrink(options.decoupled ? 1 - lr * weight_decay : 1) {}

  /// One element, in T.
  template <class T>
  GRADUS_HOST_DEVICE void operator()(T& parameter, T gradient, T& mean, T& square) const {
    const T p = T(shrink) * parameter;
    const T g = gradient + T(decay) * p;
    const T m = T(beta1) * mean + T(1 - beta1) * g;
    const T v = T(beta2) * square + T(1 - beta2) * g * g;
    mean = m;
    square = v;
    parameter = p - T(step_size) * m / (std::sqrt(v) * T(root_scale) + T(eps));
  }
};

}  // namespace gradus::optim
