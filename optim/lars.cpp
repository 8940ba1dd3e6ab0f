#include <gradus/optim/lars.h>

#include <cmath>

#include <gradus/tensor/check.h>
#include "optim/internal/updates.h"

namespace gradus::optim {

Lars::Lars(std::vector<ParameterGroup> groups, const Options& options)
    : Sgd(std::move(groups),
          {.lr = options.lr, .momentum = options.momentum, .nesterov = options.nesterov}),
      options_(options) {
  check(std::isfinite(options.trust) && options.trust > 0, "lars",
        "trust must be finite and positive; got {}", options.trust);
  check(std::isfinite(options.eps) && options.eps >= 0, "lars",
        "eps must be finite and not negative; got {}", options.eps);
}

void Lars::update(const std::vector<UpdateTensors>& parameters, const Tensor& guard) {
  set_trust_ratios(parameters, options_, updates_);
  Sgd::update(parameters, guard);
}

}  // namespace gradus::optim
