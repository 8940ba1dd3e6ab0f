#include "autograd/ops.h"

namespace gradus {
namespace {

Variable batch_norm(std::string_view op, const Variable& x, const BatchStatistics& statistics,
                    const Variable& gamma, const Variable& beta, double eps, bool training) {
  return make_variable(
      op, batch_norm(x.value(), statistics, gamma.value(), beta.value(), eps), {&x, &gamma, &beta},
      [x = x.value(), statistics, gamma = gamma.value(), eps,
       training](const Tensor& dy) -> std::vector<Tensor> {
        auto [dx, dgamma, dbeta] = batch_norm_backward(dy, x, statistics, gamma, eps, training);
        return {dx, dgamma, dbeta};
      });
}

}  // namespace

BatchNormResult batch_norm_train(const Variable& x, const Variable& gamma, const Variable& beta,
                                 double eps) {
  const BatchStatistics statistics = batch_norm_statistics(x.value());
  return {batch_norm("batch_norm_train", x, statistics, gamma, beta, eps, true), statistics};
}

Variable batch_norm_eval(const Variable& x, const BatchStatistics& statistics,
                         const Variable& gamma, const Variable& beta, double eps) {
  return batch_norm("batch_norm_eval", x, statistics, gamma, beta, eps, false);
}

}  // namespace gradus
