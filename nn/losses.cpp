#include <gradus/nn/losses.h>

#include <cmath>

#include <gradus/autograd/ops.h>
#include <gradus/tensor/check.h>

namespace gradus::nn {
namespace {

/// Whether fewer than k classes rank before `label`.
bool among_largest(const double* logits, std::int64_t classes, std::int64_t label, std::int64_t k) {
  const double own = logits[label];
  if (std::isnan(own)) return false;
  std::int64_t before = 0;
  for (std::int64_t c = 0; c < classes; ++c) {
    if (c == label) continue;
    before += std::isnan(logits[c]) || logits[c] > own || (logits[c] == own && c < label);
  }
  return before < k;
}

}  // namespace

Variable cross_entropy(const Variable& logits, const Tensor& labels,
                       const CrossEntropyOptions& options) {
  const Variable losses = softmax_cross_entropy(logits, labels, options.label_smoothing);
  check(losses.numel() > 0, "cross_entropy", "the batch is empty; got logits {}", logits.shape());
  return mean(losses);
}

Variable mse_loss(const Variable& prediction, const Variable& target) {
  check(prediction.shape() == target.shape(), "mse_loss",
        "prediction and target must have one shape; got {} and {}", prediction.shape(),
        target.shape());
  check(prediction.numel() > 0, "mse_loss", "the batch is empty; got prediction {}",
        prediction.shape());
  return mean(square(prediction - target));
}

std::int64_t count_top_k(const Tensor& logits, const Tensor& labels, std::int64_t k) {
  check(logits.rank() == 2 && labels.shape() == Shape{logits.size(0)}, "count_top_k",
        "logits must be [N, classes] and labels [N]; got {} and {}", logits.shape(),
        labels.shape());
  check(labels.dtype() == DType::int64, "count_top_k", "labels must be int64; got {}",
        name(labels.dtype()));
  check(k >= 1, "count_top_k", "k must be at least 1; got {}", k);
  const std::int64_t classes = logits.size(1);
  const auto values = logits.to(DType::float64).to_vector<double>();
  std::int64_t correct = 0;
  const double* row = values.data();
  for (const std::int64_t label : labels.to_vector<std::int64_t>()) {
    check(label >= 0 && label < classes, "count_top_k", "labels must be in [0, {}); got {}",
          classes, label);
    correct += among_largest(row, classes, label, k);
    row += classes;
  }
  return correct;
}

}  // namespace gradus::nn
