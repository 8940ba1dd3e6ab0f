#include <gradus/autograd/ops.h>
#include "saved_norm.h"

namespace gradus {
namespace {

Variable batch_norm(std::string_view op, const Variable& x, const BatchStatistics& statistics,
                    const Variable& gamma, const Variable& beta, const BatchNormOptions& options,
                    const Variable& residual, bool training) {
  Tensor y =
      batch_norm(x.value(), statistics, gamma.value(), beta.value(), options, residual.value());
  const SavedTensor saved_y = options.relu && residual.defined() ? y : Tensor();
  const BatchNormBackwardOptions backward{.eps = options.eps,
                                          .training = training,
                                          .relu = options.relu,
                                          .residual = residual.requires_grad()};
  return make_variable(op, std::move(y), {&x, &gamma, &beta, &residual},
                       [saved = SavedNorm(x, statistics, gamma, beta), saved_y,
                        backward](const Tensor& dy) -> std::vector<Tensor> {
                         const SavedNorm::Values in = saved.get();
                         auto [dx, dgamma, dbeta, dresidual] = batch_norm_backward(
                             dy, in.x, saved_y.get(), in.statistics, in.gamma, in.beta, backward);
                         return {dx, dgamma, dbeta, dresidual};
                       });
}

}  // namespace

BatchStatistics WithStatistics::measure() const {
  return statistics.mean.defined() ? statistics : batch_norm_statistics(value.value());
}

BatchNormResult batch_norm_train(const WithStatistics& x, const Variable& gamma,
                                 const Variable& beta, const BatchNormOptions& options,
                                 const Variable& residual) {
  const BatchStatistics statistics = x.measure();
  return {batch_norm("batch_norm_train", x.value, statistics, gamma, beta, options, residual, true),
          statistics};
}

Variable batch_norm_eval(const Variable& x, const BatchStatistics& statistics,
                         const Variable& gamma, const Variable& beta,
                         const BatchNormOptions& options, const Variable& residual) {
  return batch_norm("batch_norm_eval", x, statistics, gamma, beta, options, residual, false);
}

Variable off_diagonal_square_sum(const Variable& x) {
  return make_variable("off_diagonal_square_sum", off_diagonal_square_sum(x.value()), {&x},
                       [x = SavedTensor(x.value())](const Tensor& dy) -> std::vector<Tensor> {
                         return {off_diagonal_square_sum_backward(dy, x.get())};
                       });
}

}  // namespace gradus
