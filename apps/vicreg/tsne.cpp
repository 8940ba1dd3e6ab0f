#include "vicreg/tsne.h"

#include <algorithm>
#include <cmath>

#include <gradus/tensor/ops.h>
#include <gradus/tensor/random.h>
#include "vicreg/features.h"

namespace gradus::vicreg {
namespace {

/// Neighbour probabilities of one point: p_j ~ exp(-beta d_j), with the beta that gives the
/// perplexity; p_self = 0.
void neighbour_probabilities(std::vector<double>& row, std::size_t self, double perplexity) {
  const std::vector<double> distances = row;
  double nearest = INFINITY;
  for (std::size_t j = 0; j < row.size(); ++j)
    if (j != self) nearest = std::min(nearest, distances[j]);
  double beta = 1, low = 0, high = INFINITY;
  for (int trial = 0; trial < 60; ++trial) {
    double sum = 0, weighted = 0;
    for (std::size_t j = 0; j < row.size(); ++j) {
      const double distance = distances[j] - nearest;
      row[j] = j == self ? 0 : std::exp(-beta * distance);
      sum += row[j];
      weighted += row[j] * distance;
    }
    for (double& p : row) p /= sum;
    const double entropy = std::log(sum) + beta * weighted / sum;
    const bool too_wide = entropy > std::log(perplexity);
    (too_wide ? low : high) = beta;
    beta = std::isinf(high) ? 2 * beta : (low + high) / 2;
  }
}

/// Symmetric joint probabilities [n, n] of unit features; they sum to 1.
std::vector<double> joint_probabilities(const Tensor& features, double perplexity) {
  const Tensor unit = unit_rows(features);
  const std::vector<float> similarity =
      matmul(unit, unit, {.transpose_b = true}).to_vector<float>();
  const std::size_t n = static_cast<std::size_t>(features.size(0));
  std::vector<double> conditional(n * n);
#pragma omp parallel for
  for (std::size_t i = 0; i < n; ++i) {
    std::vector<double> row(n);
    for (std::size_t j = 0; j < n; ++j) row[j] = 2 - 2 * double{similarity[i * n + j]};
    neighbour_probabilities(row, i, perplexity);
    std::copy(row.begin(), row.end(), conditional.begin() + static_cast<std::ptrdiff_t>(i * n));
  }
  std::vector<double> joint(n * n);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j)
      joint[i * n + j] = (conditional[i * n + j] + conditional[j * n + i]) / (2.0 * double(n));
  return joint;
}

/// The gradient [n, 2] of the divergence KL(P || Q) at points y [n, 2], with P multiplied by
/// `exaggeration`: 4 sum_j (p_ij - q_ij) k_ij (y_i - y_j), q_ij = k_ij / sum k,
/// k_ij = 1 / (1 + |y_i - y_j|^2).
std::vector<double> gradient(const std::vector<double>& p, const std::vector<double>& y,
                             double exaggeration) {
  const std::size_t n = y.size() / 2;
  std::vector<double> kernel_sums(n), attraction(2 * n), repulsion(2 * n);
#pragma omp parallel for
  for (std::size_t i = 0; i < n; ++i) {
    double kernels = 0, ax = 0, ay = 0, rx = 0, ry = 0;
    for (std::size_t j = 0; j < n; ++j) {
      const double dx = y[2 * i] - y[2 * j], dy = y[2 * i + 1] - y[2 * j + 1];
      const double kernel = 1 / (1 + dx * dx + dy * dy);
      const double pull = p[i * n + j] * kernel, push = kernel * kernel;
      kernels += kernel;
      ax += pull * dx, ay += pull * dy;
      rx += push * dx, ry += push * dy;
    }
    kernel_sums[i] = kernels - 1;  // without the point itself
    attraction[2 * i] = ax, attraction[2 * i + 1] = ay;
    repulsion[2 * i] = rx, repulsion[2 * i + 1] = ry;
  }
  double total = 0;  // point by point, so that it is the same for any number of threads
  for (const double sum : kernel_sums) total += sum;
  std::vector<double> result(2 * n);
  for (std::size_t i = 0; i < result.size(); ++i)
    result[i] = 4 * (exaggeration * attraction[i] - repulsion[i] / total);
  return result;
}

}  // namespace

std::vector<double> tsne(const Tensor& features, const TsneOptions& options) {
  const std::int64_t count = features.size(0);
  if (count < 2) return std::vector<double>(static_cast<std::size_t>(2 * count));
  const double n = static_cast<double>(count);
  const std::vector<double> p =
      joint_probabilities(features, std::clamp((n - 1) / 3, 1.0, options.perplexity));
  Generator generator(options.seed);
  const std::vector<float> start = normal({count, 2}, 0, 1e-4, generator).to_vector<float>();
  std::vector<double> y(start.begin(), start.end()), velocity(y.size()), gains(y.size(), 1.0);
  // Exaggeration, momentum, gains and rate as in van der Maaten's program and scikit-learn's.
  const double rate = std::max(50.0, n / 48);
  for (int iteration = 0; iteration < options.iterations; ++iteration) {
    const bool early = iteration < options.iterations / 4;
    const std::vector<double> slope = gradient(p, y, early ? 12 : 1);
    for (std::size_t i = 0; i < y.size(); ++i) {
      const bool same_sign = (slope[i] > 0) == (velocity[i] > 0);
      gains[i] = std::max(0.01, same_sign ? 0.8 * gains[i] : gains[i] + 0.2);
      velocity[i] = (early ? 0.5 : 0.8) * velocity[i] - rate * gains[i] * slope[i];
      y[i] += velocity[i];
    }
  }
  for (const std::size_t axis : {0, 1}) {
    double low = INFINITY, high = -INFINITY;
    for (std::size_t i = axis; i < y.size(); i += 2)
      low = std::min(low, y[i]), high = std::max(high, y[i]);
    for (std::size_t i = axis; i < y.size(); i += 2)
      y[i] = high > low ? 2 * (y[i] - low) / (high - low) - 1 : 0;
  }
  return y;
}

}  // namespace gradus::vicreg
