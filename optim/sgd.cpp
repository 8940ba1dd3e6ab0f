#include <gradus/optim/sgd.h>

#include <cmath>

#include <gradus/tensor/check.h>
#include "optim/internal/updates.h"

namespace gradus::optim {
namespace {

std::vector<std::string> state_of(const Sgd::Options& options) {
  if (options.momentum == 0) return {};
  return {"momentum"};
}

}  // namespace

Sgd::Sgd(std::vector<ParameterGroup> groups, const Options& options)
    : Optimizer(std::move(groups), options.lr, state_of(options)), options_(options) {
  check(std::isfinite(options.momentum) && options.momentum >= 0, "sgd",
        "momentum must be finite and not negative; got {}", options.momentum);
  check(!options.nesterov || options.momentum > 0, "sgd", "nesterov needs momentum");
}

void Sgd::set_updates(const std::vector<Coming>& coming, Device device) {
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

void Sgd::update(const std::vector<UpdateTensors>& parameters, const Tensor& guard) {
  if (options_.momentum == 0) {
    apply_updates<0>(parameters, updates_, guard);
  } else {
    apply_updates<1>(parameters, updates_, guard);
  }
}

}  // namespace gradus::optim
