#include <gradus/nn/vicreg_loss.h>

#include <cmath>
#include <vector>

#include <gradus/autograd/ops.h>
#include <gradus/tensor/check.h>
#include "internal/views.h"

namespace gradus::nn {
namespace {

/// mean_j max(0, 1 - std_j) of z [N, D].
Variable variance_term(const Variable& z, double eps) {
  const Variable standard_deviation = sqrt(variance(z, {0}) + eps);  // [D]
  return mean(relu(1 - standard_deviation));
}

/// sum_{j != k} C_jk^2 / D of z [N, D].
Variable covariance_term(const Variable& z) {
  const double n = static_cast<double>(z.size(0)), d = static_cast<double>(z.size(1));
  const Variable centred = z - mean(z, {0}, true);
  const Variable scatter = matmul(centred, centred, {.transpose_a = true});  // (n - 1) C: [D, D]
  return off_diagonal_square_sum(scatter) / ((n - 1) * (n - 1) * d);
}

/// The sum of a term over views, 2 / V of it.
Variable twice_the_mean(const std::vector<Variable>& terms) {
  Variable total = terms[0];
  for (std::size_t v = 1; v < terms.size(); ++v) total = total + terms[v];
  return terms.size() == 2 ? total : total * (2 / static_cast<double>(terms.size()));
}

}  // namespace

VICRegLoss vicreg_loss(const Variable& z, std::int64_t views, const VICRegOptions& options) {
  check_views("vicreg_loss", z, views);
  check(std::isfinite(options.eps) && options.eps >= 0, "vicreg_loss",
        "eps must be finite and not negative; got {}", options.eps);
  const std::int64_t n = z.size(0) / views;
  std::vector<Variable> each, variances, covariances;  // by view
  for (std::int64_t v = 0; v < views; ++v) each.push_back(slice(z, 0, v * n, (v + 1) * n));
  for (const Variable& view : each) variances.push_back(variance_term(view, options.eps));
  for (const Variable& view : each) covariances.push_back(covariance_term(view));

  VICRegLoss loss;
  if (views == 2) {
    loss.invariance = mean(square(each[0] - each[1]));
  } else {
    const Variable by_view = reshape(z, {views, n, z.size(1)});
    const double count = static_cast<double>(views);
    loss.invariance = mean(square(by_view - mean(by_view, {0}, true))) * (2 * count / (count - 1));
  }
  loss.variance = twice_the_mean(variances);
  loss.covariance = twice_the_mean(covariances);
  loss.total = loss.invariance * options.invariance + loss.variance * options.variance +
               loss.covariance * options.covariance;
  return loss;
}

}  // namespace gradus::nn
