// In-place parameter updates: the arithmetic of the optimisers, one call a parameter.
#pragma once

#include "tensor/optimizer_updates.h"
#include "tensor/tensor.h"

namespace gradus {

/// `momentum` may be undefined where update.momentum is 0.
void sgd_update(Tensor& parameter, const Tensor& gradient, Tensor& momentum,
                const SgdUpdate& update);
void adam_update(Tensor& parameter, const Tensor& gradient, Tensor& mean, Tensor& square,
                 const AdamUpdate& update);
/// sqrt(sum (x + scale y)^2), summed in float64; y may be undefined where scale is 0.
double norm(const Tensor& x, const Tensor& y = {}, double scale = 0);

}  // namespace gradus
