#include <gradus/nn/vicreg_loss.h>

#include <cmath>
#include <vector>

#include "internal/views.h"

namespace gradus::nn {
namespace {

/// The average over the members' parts, or the one part; `downstream` as in all_reduce.
Variable average(const Variable& x, Communicator* parts, Downstream downstream) {
  return parts == nullptr ? x : all_reduce(x, *parts, downstream) / parts->size();
}

/// The embeddings z [n, D] of one view of this part, their mean over the batch of N, and N.
struct View {
  Variable z, mean;  ///< mean [1, D]
  double count;
};

/// Var_j over the batch: [D].
Variable batch_variance(const View& view, Communicator* parts) {
  if (parts == nullptr) return variance(view.z, {0});
  const Variable about_mean = mean(square(view.z - view.mean), {0});
  return average(about_mean, parts, Downstream::same) * (view.count / (view.count - 1));
}

/// mean_j max(0, 1 - std_j).
Variable variance_term(const View& view, double eps, Communicator* parts) {
  return mean(relu(1 - sqrt(batch_variance(view, parts) + eps)));
}

/// sum_{j != k} C_jk^2 / D.
Variable covariance_term(const View& view, Communicator* parts) {
  const double n = view.count, d = static_cast<double>(view.z.size(1));
  const Variable centred = view.z - view.mean;
  Variable scatter = matmul(centred, centred, {.transpose_a = true});  // (n - 1) C: [D, D]
  if (parts != nullptr) scatter = all_reduce(scatter, *parts, Downstream::same);
  return off_diagonal_square_sum(scatter) / ((n - 1) * (n - 1) * d);
}

/// The sum of a term over views, 2 / V of it.
Variable twice_the_mean(const std::vector<Variable>& terms) {
  Variable total = terms[0];
  for (std::size_t v = 1; v < terms.size(); ++v) total = total + terms[v];
  return terms.size() == 2 ? total : total * (2 / static_cast<double>(terms.size()));
}

/// Of each view.
std::vector<View> split_views(const Variable& z, std::int64_t views, Communicator* parts) {
  const std::int64_t n = z.size(0) / views;
  const double count = static_cast<double>(n) * (parts == nullptr ? 1 : parts->size());
  std::vector<View> all;
  for (std::int64_t v = 0; v < views; ++v) {
    const Variable each = slice(z, 0, v * n, (v + 1) * n);
    all.push_back({each, average(mean(each, {0}, true), parts, Downstream::any), count});
  }
  return all;
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

  const std::vector<View> each = split_views(z, views, parts);
  std::vector<Variable> variances, covariances;  // by view
  for (const View& view : each) variances.push_back(variance_term(view, options.eps, parts));
  for (const View& view : each) covariances.push_back(covariance_term(view, parts));

  VICRegLoss loss;
  if (views == 2) {
    loss.invariance = mean(square(each[0].z - each[1].z));
  } else {
    const Variable by_view = reshape(z, {views, z.size(0) / views, z.size(1)});
    const double count = static_cast<double>(views);
    loss.invariance = mean(square(by_view - mean(by_view, {0}, true))) * (2 * count / (count - 1));
  }
  loss.invariance = average(loss.invariance, parts, Downstream::same);
  loss.variance = twice_the_mean(variances);
  loss.covariance = twice_the_mean(covariances);
  loss.total = loss.invariance * options.invariance + loss.variance * options.variance +
               loss.covariance * options.covariance;
  return loss;
}

}  // namespace gradus::nn
