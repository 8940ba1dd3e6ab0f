#include <gradus/optim/adam.h>

#include <cmath>

#include <gradus/tensor/check.h>
#include "optim/internal/updates.h"

namespace gradus::optim {
Adam::Adam(std::vector<ParameterGroup> groups, const Options& options)
    : Optimizer(std::move(groups), options.lr, {"exp_avg", "exp_avg_sq"}), options_(options) {
  check(options.beta1 >= 0 && options.beta1 < 1 && options.beta2 >= 0 && options.beta2 < 1, "adam",
        "beta1 and beta2 must be in [0, 1); got {} and {}", options.beta1, options.beta2);
  check(std::isfinite(options.eps) && options.eps >= 0, "adam",
        "eps must be finite and not negative; got {}", options.eps);
}

void Adam::set_updates(const std::vector<Coming>& coming, Device device) {
  std::vector<AdamUpdate> updates;
  for (const auto& [group, lr, step] : coming)
    updates.emplace_back(options_, lr, group.weight_decay, step);
  updates_.assign(updates, device);
}

void Adam::update(const std::vector<UpdateTensors>& parameters, const Tensor& guard) {
  apply_updates<2>(parameters, updates_, guard);
}

}  // namespace gradus::optim
