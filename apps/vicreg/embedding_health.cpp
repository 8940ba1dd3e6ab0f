#include "vicreg/embedding_health.h"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <gradus/tensor/check.h>

namespace gradus::vicreg {
namespace {

constexpr double rankme_eps = 1e-7;

/// Singular values of z [rows, columns], as roots of the eigenvalues of the smaller Gram matrix.
std::vector<double> singular_values(const std::vector<double>& z, int rows, int columns) {
  using Eigen::MatrixXd;
  const Eigen::Map<const MatrixXd> transposed(z.data(), columns, rows);  // z is row-major
  const int n = std::min(rows, columns);
  MatrixXd gram = MatrixXd::Zero(n, n);
  if (columns <= rows) {
    gram.selfadjointView<Eigen::Lower>().rankUpdate(transposed);  // Z^T Z
  } else {
    gram.selfadjointView<Eigen::Lower>().rankUpdate(transposed.transpose());  // Z Z^T
  }
  const Eigen::SelfAdjointEigenSolver<MatrixXd> solver(gram, Eigen::EigenvaluesOnly);
  check(solver.info() == Eigen::Success, "embedding_health",
        "the eigenvalues of the embeddings' Gram matrix did not converge");
  std::vector<double> values(solver.eigenvalues().begin(), solver.eigenvalues().end());
  for (double& value : values) value = std::sqrt(std::max(value, 0.0));
  return values;
}

double rankme(const std::vector<double>& singular) {
  double sum = 0;
  for (const double s : singular) sum += s;
  if (sum == 0) return 1;  // all embeddings are zero
  double entropy = 0;
  for (const double s : singular) {
    const double p = s / sum + rankme_eps;
    entropy -= p * std::log(p);
  }
  return std::exp(entropy);
}

/// Unbiased standard deviation of each column of z [rows, columns], by two passes.
std::vector<double> column_stds(const std::vector<double>& z, std::size_t rows,
                                std::size_t columns) {
  std::vector<double> means(columns), stds(columns);
  for (std::size_t i = 0; i < z.size(); ++i) means[i % columns] += z[i];
  for (double& mean : means) mean /= static_cast<double>(rows);
  for (std::size_t i = 0; i < z.size(); ++i) {
    const double difference = z[i] - means[i % columns];
    stds[i % columns] += difference * difference;
  }
  for (double& value : stds) value = std::sqrt(value / static_cast<double>(rows - 1));
  return stds;
}

}  // namespace

EmbeddingHealth measure(const Tensor& z) {
  check(z.defined() && z.rank() == 2 && z.dtype() == DType::float32, "embedding_health",
        "embeddings must be float32 [N, D]");
  check(z.size(0) >= 2 && z.size(1) >= 1, "embedding_health",
        "needs at least two embeddings of at least one dimension; got {}", z.shape());
  const std::vector<float> values = z.to_vector<float>();
  if (!std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); })) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    return {nan, nan, nan};
  }
  const std::vector<double> wide(values.begin(), values.end());
  const std::vector<double> stds =
      column_stds(wide, static_cast<std::size_t>(z.size(0)), static_cast<std::size_t>(z.size(1)));
  EmbeddingHealth health;
  for (const double value : stds) health.std_mean += value / static_cast<double>(stds.size());
  health.std_min = *std::min_element(stds.begin(), stds.end());
  health.effective_rank =
      rankme(singular_values(wide, static_cast<int>(z.size(0)), static_cast<int>(z.size(1))));
  return health;
}

CollapseThresholds collapse_thresholds(std::int64_t embeddings, std::int64_t dimensions) {
  const std::int64_t spanned = std::min(embeddings - 1, dimensions);  // by points around their mean
  return {.effective_rank = std::max(1.5, static_cast<double>(spanned) / 200)};
}

std::optional<std::string> collapse_warning(const EmbeddingHealth& health, std::int64_t embeddings,
                                            std::int64_t dimensions, LossName loss) {
  const CollapseThresholds thresholds = collapse_thresholds(embeddings, dimensions);
  const bool vicreg = loss == LossName::vicreg;
  if (!std::isfinite(health.std_mean) || !std::isfinite(health.effective_rank)) {
    return "the embeddings are not finite (NaN or infinity)";
  }
  if (health.std_mean < thresholds.std_mean) {
    return fmt::format(
        "the embeddings are collapsing: all images are mapped to nearly the same point (mean std "
        "{:.2g}, healthy is near 1); a {} weight or a smaller learning rate may help",
        health.std_mean, vicreg ? "larger variance" : "smaller similarity");
  }
  if (std::min(embeddings - 1, dimensions) > 2 &&
      health.effective_rank < thresholds.effective_rank) {
    return fmt::format(
        "the embeddings are collapsing: they use about {:.1f} of {} dimensions (effective rank of "
        "{} embeddings); a {} weight or a smaller learning rate may help",
        health.effective_rank, dimensions, embeddings,
        vicreg ? "larger covariance" : "smaller similarity");
  }
  if (health.std_min < thresholds.std_min) {
    return fmt::format(
        "a dimension of the embeddings is constant (std {:.2g}): it carries no information",
        health.std_min);
  }
  return std::nullopt;
}

}  // namespace gradus::vicreg
