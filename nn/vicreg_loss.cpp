#include <gradus/nn/vicreg_loss.h>

#include <cmath>

#include <gradus/nn/fused.h>
#include "internal/views.h"

namespace gradus::nn {
namespace {

/// The average over the members' parts, or the one part; `downstream` as in all_reduce.
Variable average(const Variable& x, Communicator* parts, Downstream downstream) {
  return parts == nullptr ? x : all_reduce(x, *parts, downstream) / parts->size();
}

/// The embeddings z [V, n, D] of this part, by view, and less their means over the batch of N.
struct Views {
  Variable z, centred;
  double count;  ///< N
};

Views split_views(const Variable& z, std::int64_t views, Communicator* parts) {
  const std::int64_t n = z.size(0) / views;
  const Variable by_view = reshape(z, {views, n, z.size(1)});
  const Variable means = average(mean(by_view, {1}, true), parts, Downstream::any);
  return {by_view, by_view - means,
          static_cast<double>(n) * (parts == nullptr ? 1 : parts->size())};
}

/// The mean over pairs of views of 1/(N D) sum_ij (z_v - z_w)_ij^2.
Variable invariance_term(const Views& views, Communicator* parts) {
  const std::int64_t count = views.z.size(0);
  const double v = static_cast<double>(count);
  const Variable term = count == 2
                            ? mean(square(slice(views.z, 0, 0, 1) - slice(views.z, 0, 1, 2)))
                            : mean(square(views.z - mean(views.z, {0}, true))) * (2 * v / (v - 1));
  return average(term, parts, Downstream::same);
}

/// 2 / V sum_v mean_j max(0, 1 - std_j).
Variable variance_term(const Views& views, double eps, Communicator* parts) {
  const Variable biased = average(mean(square(views.centred), {1}), parts, Downstream::same);
  const Variable variance = biased * (views.count / (views.count - 1));  // [V, D]
  return mean(relu(1 - sqrt(variance + eps))) * 2;
}

/// 2 / V sum_v sum_{j != k} C_jk^2 / D.
Variable covariance_term(const Views& views, Communicator* parts) {
  const double n = views.count, d = static_cast<double>(views.z.size(2));
  const double v = static_cast<double>(views.z.size(0));
  Variable scatter = matmul(views.centred, views.centred, {.transpose_a = true});
  if (parts != nullptr) scatter = all_reduce(scatter, *parts, Downstream::same);
  return off_diagonal_square_sum(scatter) * (2 / (v * (n - 1) * (n - 1) * d));
}

}  // namespace

VICRegLoss vicreg_loss(const Variable& part, std::int64_t views, const VICRegOptions& options,
                       Communicator* communicator) {
  check_views("vicreg_loss", part, views, communicator);
  check(std::isfinite(options.eps) && options.eps >= 0, "vicreg_loss",
        "eps must be finite and not negative; got {}", options.eps);
  const bool gather =
      communicator != nullptr && part.size(0) / views * communicator->size() <= part.size(1);
  const Variable z = gather ? gather_views(part, views, *communicator) : part;
  Communicator* const parts = gather ? nullptr : communicator;
  if (parts == nullptr && fusion_enabled()) return fused::vicreg_loss(z, views, options);

  const Views each = split_views(z, views, parts);
  VICRegLoss loss;
  loss.invariance = invariance_term(each, parts);
  loss.variance = variance_term(each, options.eps, parts);
  loss.covariance = covariance_term(each, parts);
  loss.total = loss.invariance * options.invariance + loss.variance * options.variance +
               loss.covariance * options.covariance;
  return loss;
}

}  // namespace gradus::nn
