#include <gradus/optim/lars.h>

#include <cmath>

#include <gradus/tensor/check.h>
#include "optim/internal/updates.h"

namespace gradus::optim {

Lars::Lars(std::vector<ParameterGroup> groups, const Options& options)
    : Optimizer(std::move(groups), options.lr, {"momentum"}), options_(options) {
  check(std::isfinite(options.momentum) && options.momentum >= 0, "lars",
        "momentum must be finite and not negative; got {}", options.momentum);
  check(!options.nesterov || options.momentum > 0, "lars", "nesterov needs momentum");
  check(std::isfinite(options.trust) && options.trust > 0, "lars",
        "trust must be finite and positive; got {}", options.trust);
  check(std::isfinite(options.eps) && options.eps >= 0, "lars",
        "eps must be finite and not negative; got {}", options.eps);
}

void Lars::set_updates(const std::vector<Coming>& coming, Device device) {
  std::vector<SgdUpdate> updates;
  for (const auto& [group, lr, step] : coming) {
    updates.push_back({.lr = lr,
                       .weight_decay = group.weight_decay,
                       .momentum = options_.momentum,
                       .nesterov = options_.nesterov,
                       .first = step == 1,
                       .adapt = group.adapt});
  }
  updates_.assign(updates, device);
}

void Lars::update(const std::vector<UpdateTensors>& parameters, const Tensor& guard) {
  set_trust_ratios(parameters, options_, updates_);
  apply_updates<1>(parameters, updates_, guard);
}

}  // namespace gradus::optim
