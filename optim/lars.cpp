#include "optim/lars.h"

#include <algorithm>

#include "tensor/check.h"
#include "tensor/optimizer_ops.h"

namespace gradus::optim {
namespace {

/// The factor of the decayed gradient, and the decay that it applies to.
struct Trust {
  double ratio = 1;
  double weight_decay = 0;
};

Trust trust_of(const Tensor& parameter, const Tensor& gradient, double weight_decay, double lr,
               const LarsOptions& options) {
  const double parameter_norm = norm(parameter);
  if (options.form == LarsForm::decayed_gradient) {
    const double decayed_norm = norm(gradient, parameter, weight_decay);
    const bool usable = parameter_norm > 0 && decayed_norm > 0;
    return {usable ? options.trust * parameter_norm / decayed_norm : 1, weight_decay};
  }
  const double gradient_norm = norm(gradient);
  if (parameter_norm == 0 || gradient_norm == 0) return {};
  const double ratio = options.trust * parameter_norm /
                       (gradient_norm + weight_decay * parameter_norm + options.eps);
  return {options.clip ? std::min(ratio / lr, 1.0) : ratio, weight_decay};
}

}  // namespace

Lars::Lars(std::vector<ParameterGroup> groups, const LarsOptions& options)
    : Optimizer(std::move(groups)), options_(options) {
  check(options.momentum >= 0, "lars", "momentum must not be negative; got {}", options.momentum);
  check(options.trust > 0, "lars", "trust must be positive; got {}", options.trust);
}

void Lars::update(Tensor& parameter, const Tensor& gradient, const ParameterGroup& group, double lr,
                  ParameterState& state) {
  const Trust trust = group.adapt ? trust_of(parameter, gradient, group.weight_decay, lr, options_)
                                  : Trust{1, group.weight_decay};
  sgd_update(parameter, gradient, state.slots[0],
             {.lr = lr,
              .momentum = options_.momentum,
              .weight_decay = trust.weight_decay,
              .gradient_scale = trust.ratio,
              .first_step = state.step == 1});
}

}  // namespace gradus::optim
