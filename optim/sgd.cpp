#include <gradus/optim/sgd.h>

#include <cmath>

#include <gradus/tensor/check.h>
#include <gradus/tensor/optimizer_ops.h>

namespace gradus::optim {

Sgd::Sgd(std::vector<ParameterGroup> groups, const Options& options)
    : Optimizer(std::move(groups), options.lr),
      rule_{.momentum = options.momentum, .nesterov = options.nesterov} {
  check(std::isfinite(options.momentum) && options.momentum >= 0, "sgd",
        "momentum must be finite and not negative; got {}", options.momentum);
  check(!options.nesterov || options.momentum > 0, "sgd", "nesterov needs momentum");
}

std::vector<std::string> Sgd::slot_names() const {
  if (rule_.momentum == 0) return {};
  return {"momentum"};
}

Tensor Sgd::steps(const std::vector<Coming>& updates) const {
  std::vector<SgdStep> steps;
  for (const auto& [group, lr, step] : updates) {
    steps.push_back(
        {.lr = lr, .weight_decay = group->weight_decay, .first = step == 1 ? 1.0 : 0.0});
  }
  return pack_steps(steps);
}

void Sgd::update(const std::vector<Trainee>& trainees, Tensor& steps, const Tensor& guard) {
  std::vector<SgdTensors> tensors;
  for (const auto& [parameter, gradient, slots] : trainees)
    tensors.push_back({parameter, gradient, slots.empty() ? Tensor() : slots[0]});
  sgd_update(tensors, steps, rule_, guard);
}

}  // namespace gradus::optim
