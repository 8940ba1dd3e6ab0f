#include "optim/adam.h"

#include "tensor/check.h"
#include "tensor/optimizer_ops.h"

namespace gradus::optim {

Adam::Adam(std::vector<ParameterGroup> groups, const AdamOptions& options, bool decoupled)
    : Optimizer(std::move(groups)), options_(options), decoupled_(decoupled) {
  check(options.beta1 >= 0 && options.beta1 < 1 && options.beta2 >= 0 && options.beta2 < 1, "adam",
        "beta1 and beta2 must be in [0, 1); got {} and {}", options.beta1, options.beta2);
  check(options.eps >= 0, "adam", "eps must not be negative; got {}", options.eps);
}

void Adam::update(Tensor& parameter, const Tensor& gradient, const ParameterGroup& group, double lr,
                  ParameterState& state) {
  adam_update(parameter, gradient, state.slots[0], state.slots[1],
              {.lr = lr,
               .beta1 = options_.beta1,
               .beta2 = options_.beta2,
               .eps = options_.eps,
               .weight_decay = group.weight_decay,
               .decoupled = decoupled_,
               .step = state.step});
}

}  // namespace gradus::optim
