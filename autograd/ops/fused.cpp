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
  const auto gradients = [saved = SavedNorm(x, statistics, gamma, beta), saved_y, options](
                             Tensor dy, Tensor dy2) -> std::vector<Tensor> {
    const SavedNorm::Values in = saved.get();
    auto [dx, dgamma, dbeta, dresidual] =
        batch_norm_relu_backward(std::move(dy), in.x, saved_y.get(), in.statistics, in.gamma,
                                 in.beta, options, std::move(dy2));
    return {dx, dgamma, dbeta, dresidual};
  };
  // In a residual network y is read twice, by the next block's convolution and beside it.
  if (residual.defined()) {
    return make_variable("batch_norm_relu", std::move(y), {&x, &gamma, &beta, &residual},
                         gradients);
  }
  return make_variable("batch_norm_relu", std::move(y), {&x, &gamma, &beta, &residual},
                       [gradients](Tensor dy) { return gradients(std::move(dy), {}); });
}

Variable vicreg_terms(const Variable& z, const VICRegOptions& options) {
  const VICRegTerms terms = vicreg_terms(z.value(), options);
  return make_variable(
      "vicreg_terms", terms.values, {&z},
      [z = SavedTensor(z), centred = SavedTensor(terms.centred),
       inverse_std = SavedTensor(terms.inverse_std), scatter = SavedTensor(terms.scatter),
       options](const Tensor& dvalues) -> std::vector<Tensor> {
        const VICRegTerms saved{.values = {},
                                .centred = centred.get(),
                                .inverse_std = inverse_std.get(),
                                .scatter = scatter.get()};
        return {vicreg_terms_backward(dvalues, z.get(), saved, options)};
      });
}

}  // namespace gradus
