#include <gradus/nn/vicreg_loss.h>

#include <cmath>

#include <gradus/autograd/ops.h>
#include <gradus/tensor/check.h>

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

}  // namespace

VICRegLoss vicreg_loss(const Variable& z1, const Variable& z2, const VICRegOptions& options) {
  check(z1.shape().rank() == 2 && z1.shape() == z2.shape(), "vicreg_loss",
        "the embeddings of both views must have one shape [N, D]; got {} and {}", z1.shape(),
        z2.shape());
  check(z1.size(0) >= 2 && z1.size(1) >= 1, "vicreg_loss",
        "variance and covariance need at least 2 images and 1 dimension; got embeddings {}",
        z1.shape());
  check(std::isfinite(options.eps) && options.eps >= 0, "vicreg_loss",
        "eps must be finite and not negative; got {}", options.eps);
  VICRegLoss loss;
  loss.invariance = mean(square(z1 - z2));
  loss.variance = variance_term(z1, options.eps) + variance_term(z2, options.eps);
  loss.covariance = covariance_term(z1) + covariance_term(z2);
  loss.total = loss.invariance * options.invariance + loss.variance * options.variance +
               loss.covariance * options.covariance;
  return loss;
}

}  // namespace gradus::nn
