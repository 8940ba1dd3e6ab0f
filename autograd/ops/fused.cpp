#include <utility>

#include <gradus/autograd/ops_fused.h>
#include "saved_norm.h"

namespace gradus {

Variable batch_norm_relu(const Variable& x, const BatchStatistics& statistics,
                         const Variable& gamma, const Variable& beta,
                         const BatchNormOptions& options, const Variable& residual) {
  Tensor y = batch_norm_relu(x.value(), statistics, gamma.value(), beta.value(), options,
                             residual.value());
  const SavedTensor saved_y = residual.defined() ? y : Tensor();
  return make_variable("batch_norm_relu", std::move(y), {&x, &gamma, &beta, &residual},
                       [saved = SavedNorm(x, statistics, gamma, beta), saved_y,
                        options](Tensor dy) -> std::vector<Tensor> {
                         const SavedNorm::Values in = saved.get();
                         auto [dx, dgamma, dbeta, dresidual] =
                             batch_norm_relu_backward(std::move(dy), in.x, saved_y.get(),
                                                      in.statistics, in.gamma, in.beta, options);
                         return {dx, dgamma, dbeta, dresidual};
                       });
}

}  // namespace gradus
