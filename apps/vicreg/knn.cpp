#include "vicreg/knn.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <gradus/tensor/ops.h>
#include "vicreg/features.h"

namespace gradus::vicreg {
namespace {

/// Throws Error with the first image whose features are not finite.
void check_finite(const char* what, const Tensor& features) {
  if (all_finite(features)) return;
  for (std::int64_t i = 0; i < features.size(0); ++i)
    check(all_finite(features.slice(i, i + 1)), "knn",
          "the features of {} image {} are not finite (NaN or infinity)", what, i);
}

}  // namespace

std::vector<std::int64_t> nearest(const float* similarity, std::int64_t count, std::int64_t k) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  // Ties go to the earlier image, so that the result is one and the same everywhere.
  const auto nearer = [similarity](std::int64_t a, std::int64_t b) {
    return similarity[a] > similarity[b] || (similarity[a] == similarity[b] && a < b);
  };
  std::partial_sort(order.begin(), order.begin() + k, order.end(), nearer);
  order.resize(static_cast<std::size_t>(k));
  return order;
}

Tensor knn_scores(const Tensor& train_features, const Tensor& train_labels,
                  const Tensor& test_features, std::int64_t classes, const KnnOptions& options) {
  check(train_features.rank() == 2 && test_features.rank() == 2 &&
            train_features.size(1) == test_features.size(1),
        "knn", "features must be [N, F] and [M, F]; got {} and {}", train_features.shape(),
        test_features.shape());
  const std::int64_t train_count = train_features.size(0), test_count = test_features.size(0);
  check(train_labels.numel() == train_count && train_count > 0, "knn",
        "each training image needs a label; got {} for {}", train_labels.numel(), train_count);
  check(options.k >= 1 && options.temperature > 0, "knn", "k and the temperature must be positive");
  check(train_features.size(1) >= 1, "knn", "features must not be empty; got {}",
        train_features.shape());
  check_finite("training", train_features);
  check_finite("test", test_features);
  const std::int64_t k = std::min(options.k, train_count);
  const Tensor train = unit_rows(train_features), test = unit_rows(test_features);
  const std::int64_t* labels = train_labels.data<std::int64_t>();
  for (std::int64_t i = 0; i < train_count; ++i)
    check(labels[i] >= 0 && labels[i] < classes, "knn", "label {} of image {} is not in [0, {})",
          labels[i], i, classes);
  Tensor scores = zeros({test_count, classes});

  constexpr std::int64_t block = 256;  // test images at a time: similarity [256, N]
  for (std::int64_t begin = 0; begin < test_count; begin += block) {
    const std::int64_t end = std::min(test_count, begin + block);
    const Tensor similarity =
        matmul(test.slice(begin, end), train, {.transpose_b = true}).to(Device::cpu);
    const float* values = similarity.data<float>();
    float* output = scores.data<float>() + begin * classes;
#pragma omp parallel for
    for (std::int64_t i = 0; i < end - begin; ++i) {
      const float* row = values + i * train_count;
      const std::vector<std::int64_t> order = nearest(row, train_count, k);
      for (std::int64_t j = 0; j < k; ++j)
        output[i * classes + labels[order[j]]] +=
            static_cast<float>(std::exp((row[order[j]] - row[order[0]]) / options.temperature));
    }
  }
  return scores;
}

}  // namespace gradus::vicreg
