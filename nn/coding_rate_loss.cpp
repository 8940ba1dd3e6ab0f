#include <gradus/nn/coding_rate_loss.h>

#include <cmath>

#include "internal/views.h"

namespace gradus::nn {
namespace {

/// Rows along the last axis, each divided by its length; zeros stay zeros.
Variable unit_rows(const Variable& x) {
  constexpr double tiny = 1e-12;  // squared in float32, it still is a number
  return x / sqrt(sum(square(x), {-1}, true) + tiny * tiny);
}

/// z [V, N, D] -> the mean over views of 1/2 log det (I + scale z_v^T z_v).
Variable coding_rate(const Variable& z, double scale) {
  const bool by_images = z.size(1) <= z.size(2);
  const std::int64_t n = by_images ? z.size(1) : z.size(2);
  const Variable gram =
      matmul(z, z, {.transpose_a = !by_images, .transpose_b = by_images, .scale = scale});
  return mean(logdet(gram + Variable(eye(n, options_of(z.value()))))) / 2;
}

}  // namespace

CodingRateLoss coding_rate_loss(const Variable& part, std::int64_t views,
                                const CodingRateOptions& options, Communicator* communicator) {
  check_views("coding_rate_loss", part, views, communicator);
  check(std::isfinite(options.eps) && options.eps > 0, "coding_rate_loss",
        "eps must be finite and positive; got {}", options.eps);
  const Variable z = communicator == nullptr ? part : gather_views(part, views, *communicator);
  const std::int64_t n = z.size(0) / views, d = z.size(1);
  const Variable unit = unit_rows(reshape(z, {views, n, d}));
  const Variable centre = unit_rows(mean(unit, {0}, true));  // [1, N, D]
  CodingRateLoss loss;
  loss.similarity = sum(unit * centre) / static_cast<double>(views * n);
  loss.coding_rate =
      coding_rate(unit, static_cast<double>(d) / (static_cast<double>(n) * options.eps));
  loss.total = loss.similarity * -options.similarity - loss.coding_rate;
  return loss;
}

}  // namespace gradus::nn
