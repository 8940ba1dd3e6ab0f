// The optimisers' kernels: the same signatures in the namespace of each back end, as in
// tensor/backend/kernels.h. No fmt here: nvcc reads this header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <gradus/optim/adam_update.h>
#include <gradus/optim/lars_update.h>
#include <gradus/optim/sgd_update.h>
#include "tensor/backend/instantiate.h"

namespace gradus::optim {

/// A parameter, its gradient and what its rule keeps for it: [n] each. n is 0 where there is no
/// gradient; what a rule does not keep is null.
template <class T>
struct UpdatePointers {
  T* parameter;
  const T* gradient;
  T* state[2];
  std::int64_t n;
};

template <class T>
struct GradientPointers {
  T* gradient;
  std::int64_t n;
};

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

}  // namespace gradus::optim

namespace gradus::cpu {
#include "optim/internal/update_kernels.inc"
}  // namespace gradus::cpu

namespace gradus::cuda {
#include "optim/internal/update_kernels.inc"
}  // namespace gradus::cuda

/// The kernels as explicit instantiations, with which both back ends end their files.
#define GRADUS_INSTANTIATE_UPDATES(T)                        \
  GRADUS_INSTANTIATE(apply_updates<0, optim::SgdUpdate, T>)  \
  GRADUS_INSTANTIATE(apply_updates<1, optim::SgdUpdate, T>)  \
  GRADUS_INSTANTIATE(apply_updates<2, optim::AdamUpdate, T>) \
  GRADUS_INSTANTIATE(set_trust_ratios<T>)                    \
  GRADUS_INSTANTIATE(clip_norm<T>)
