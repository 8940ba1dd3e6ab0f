// In-place updates of many parameters in one call: the arithmetic of the optimisers. The formulas
// stand in tensor/optimizer_updates.h. Nothing here but norm() waits for the device.
#pragma once

#include <span>
#include <vector>

#include <gradus/tensor/optimizer_updates.h>
#include <gradus/tensor/tensor.h>

namespace gradus {

/// One parameter, its gradient and its state, of one shape. All tensors of a call are float32, or
/// all are float64, and lie on one device. Without a gradient (undefined), a parameter is left
/// alone, and its state with it.
struct SgdTensors {
  Tensor parameter, gradient;
  Tensor momentum;  ///< undefined where the rule's momentum is 0
};
struct AdamTensors {
  Tensor parameter, gradient;
  Tensor mean, square;  ///< m, v
};

/// Steps as a float64 tensor [count, fields] on the CPU, to be copied to where the update runs.
Tensor pack_steps(const std::vector<SgdStep>& steps);
Tensor pack_steps(const std::vector<AdamStep>& steps);
/// The step'th update of a parameter, counting from 1.
AdamStep adam_step(const AdamRule& rule, double lr, double weight_decay, std::int64_t step);

/// `steps` holds one step for each tensor, on the same device. Where `guard` (one element of the
/// parameters' type and device, or undefined) is not finite, nothing changes.
void sgd_update(std::span<SgdTensors> tensors, const Tensor& steps, const SgdRule& rule,
                const Tensor& guard = {});
void adam_update(std::span<AdamTensors> tensors, const Tensor& steps, const AdamRule& rule,
                 const Tensor& guard = {});
/// Fills in LARS's trust ratios, where a step asks for them, before the sgd_update that uses them.
void lars_trust(std::span<const SgdTensors> tensors, const LarsRule& rule, Tensor& steps);

/// sqrt(sum x^2), summed in float64.
double norm(const Tensor& x);
/// Multiplies all tensors by clip_factor(norm, max_norm), in place, where norm is the Euclidean
/// norm of all of them together: a float64 scalar on their device, which is returned.
Tensor clip_norm(std::span<Tensor> tensors, double max_norm);

}  // namespace gradus
