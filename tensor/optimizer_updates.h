// The arithmetic of the optimisers' updates: plain options that ops hand to kernels.
#pragma once

#include <cstdint>

namespace gradus {

/// With d = gradient_scale (g + weight_decay p):
///   first step: m = d, later m = momentum m + d  (m = d without momentum)
///   p -= lr (nesterov ? d + momentum m : m)
/// PyTorch's SGD; LARS is this with its trust ratio as gradient_scale.
struct SgdUpdate {
  double lr = 0.1;
  double momentum = 0;
  double weight_decay = 0;
  double gradient_scale = 1;
  bool nesterov = false;
  bool first_step = false;
};

/// With g += weight_decay p (L2), or p -= lr weight_decay p (decoupled):
///   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
///   p -= lr / (1 - beta1^step) m / (sqrt(v / (1 - beta2^step)) + eps)
/// Kingma and Ba, "Adam", 2015; decoupled: Loshchilov and Hutter, "AdamW", 2019.
struct AdamUpdate {
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  bool decoupled = false;
  std::int64_t step = 1;  ///< counts from 1
};

}  // namespace gradus
