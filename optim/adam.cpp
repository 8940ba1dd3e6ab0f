#include <gradus/optim/adam.h>

#include <cmath>

#include <gradus/tensor/check.h>
#include <gradus/tensor/optimizer_ops.h>

namespace gradus::optim {

Adam::Adam(std::vector<ParameterGroup> groups, const Options& options, bool decoupled)
    : Optimizer(std::move(groups), options.lr),
      rule_{.beta1 = options.beta1,
            .beta2 = options.beta2,
            .eps = options.eps,
            .decoupled = decoupled} {
  check(options.beta1 >= 0 && options.beta1 < 1 && options.beta2 >= 0 && options.beta2 < 1, "adam",
        "beta1 and beta2 must be in [0, 1); got {} and {}", options.beta1, options.beta2);
  check(std::isfinite(options.eps) && options.eps >= 0, "adam",
        "eps must be finite and not negative; got {}", options.eps);
}

Tensor Adam::steps(const std::vector<Coming>& updates) const {
  std::vector<AdamStep> steps;
  for (const auto& [group, lr, step] : updates)
    steps.push_back(adam_step(rule_, lr, group->weight_decay, step));
  return pack_steps(steps);
}

void Adam::update(const std::vector<Trainee>& trainees, Tensor& steps, const Tensor& guard) {
  std::vector<AdamTensors> tensors;
  for (const auto& [parameter, gradient, slots] : trainees) {
    if (slots.empty()) {
      tensors.push_back({parameter, {}, {}, {}});
    } else {
      tensors.push_back({parameter, gradient, slots[0], slots[1]});
    }
  }
  adam_update(tensors, steps, rule_, guard);
}

}  // namespace gradus::optim
