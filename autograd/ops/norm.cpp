#include <utility>

#include <gradus/autograd/ops.h>
#include "saved_norm.h"

namespace gradus {

Variable batch_norm(const Variable& x, const BatchStatistics& statistics, const Variable& gamma,
                    const Variable& beta, const BatchNormOptions& options) {
  return make_variable(
      "batch_norm", batch_norm(x.value(), statistics, gamma.value(), beta.value(), options),
      {&x, &gamma, &beta},
      [saved = SavedNorm(x, statistics, gamma), options](Tensor dy) -> std::vector<Tensor> {
        const SavedNorm::Values in = saved.get();
        auto [dx, dgamma, dbeta] =
            batch_norm_backward(std::move(dy), in.x, in.statistics, in.gamma, options);
        return {dx, dgamma, dbeta};
      });
}

}  // namespace gradus
