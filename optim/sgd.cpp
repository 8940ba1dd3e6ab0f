#include "optim/sgd.h"

#include "tensor/check.h"
#include "tensor/optimizer_ops.h"

namespace gradus::optim {

Sgd::Sgd(std::vector<ParameterGroup> groups, const SgdOptions& options)
    : Optimizer(std::move(groups)), options_(options) {
  check(options.momentum >= 0, "sgd", "momentum must not be negative; got {}", options.momentum);
  check(!options.nesterov || options.momentum > 0, "sgd", "nesterov needs momentum");
}

std::vector<std::string> Sgd::slot_names() const {
  if (options_.momentum == 0) return {};
  return {"momentum"};
}

void Sgd::update(Tensor& parameter, const Tensor& gradient, const ParameterGroup& group, double lr,
                 ParameterState& state) {
  Tensor none;
  sgd_update(parameter, gradient, state.slots.empty() ? none : state.slots[0],
             {.lr = lr,
              .momentum = options_.momentum,
              .weight_decay = group.weight_decay,
              .nesterov = options_.nesterov,
              .first_step = state.step == 1});
}

}  // namespace gradus::optim
