#include <gradus/optim/lars.h>

#include <cmath>

#include <gradus/tensor/check.h>
#include <gradus/tensor/optimizer_ops.h>

namespace gradus::optim {

Lars::Lars(std::vector<ParameterGroup> groups, const Options& options)
    : Optimizer(std::move(groups), options.lr),
      trust_{
          .form = options.form, .trust = options.trust, .eps = options.eps, .clip = options.clip},
      rule_{.momentum = options.momentum} {
  check(std::isfinite(options.momentum) && options.momentum >= 0, "lars",
        "momentum must be finite and not negative; got {}", options.momentum);
  check(std::isfinite(options.trust) && options.trust > 0, "lars",
        "trust must be finite and positive; got {}", options.trust);
  check(std::isfinite(options.eps) && options.eps >= 0, "lars",
        "eps must be finite and not negative; got {}", options.eps);
}

Tensor Lars::steps(const std::vector<Coming>& updates) const {
  std::vector<SgdStep> steps;
  for (const auto& [group, lr, step] : updates) {
    steps.push_back({.lr = lr,
                     .weight_decay = group->weight_decay,
                     .first = step == 1 ? 1.0 : 0.0,
                     .adapt = group->adapt ? 1.0 : 0.0});
  }
  return pack_steps(steps);
}

void Lars::update(const std::vector<Trainee>& trainees, Tensor& steps, const Tensor& guard) {
  std::vector<SgdTensors> tensors;
  for (const auto& [parameter, gradient, slots] : trainees)
    tensors.push_back({parameter, gradient, slots.empty() ? Tensor() : slots[0]});
  lars_trust(tensors, trust_, steps);
  sgd_update(tensors, steps, rule_, guard);
}

}  // namespace gradus::optim
