// In-place updates of all parameters in one call. Nothing here waits for the device.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include <gradus/optim/lars_update.h>
#include <gradus/optim/sgd_update.h>
#include <gradus/tensor/device_array.h>

namespace gradus::optim {

/// A parameter, its gradient and what its rule keeps for it, of one shape. All tensors of a call
/// are float32, or all are float64, and lie on one device. Without a gradient (undefined) a
/// parameter is left alone, and its state with it.
struct UpdateTensors {
  Tensor parameter, gradient;
  std::vector<Tensor> state{};
};

/// Applies updates[i], whose rule keeps `slots` tensors of state, to parameters[i]. Where `guard`
/// (one element of the parameters' type and device, or undefined) is not finite, nothing changes.
/// There are SgdUpdate with 0 and 1 tensors, and AdamUpdate with 2.
template <std::size_t slots, class Update>
void apply_updates(std::span<const UpdateTensors> parameters, const DeviceArray<Update>& updates,
                   const Tensor& guard = {});

/// Gives updates[i] the trust ratio of parameters[i] (lars_update.h).
void set_trust_ratios(std::span<const UpdateTensors> parameters, const LarsOptions& options,
                      DeviceArray<SgdUpdate>& updates);

}  // namespace gradus::optim
