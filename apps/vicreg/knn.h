// k-nearest-neighbour classification of features: how good they are, without training anything.
#pragma once

#include <cstdint>
#include <vector>

#include <gradus/tensor/tensor.h>

namespace gradus::vicreg {

/// How many neighbours vote, and how much the nearest ones count.
struct KnnOptions {
  std::int64_t k = 200;      ///< at least 1; all training images where there are fewer
  double temperature = 0.1;  ///< positive
};

/// The indices of the k largest of `count` similarities, the largest first; equal ones rank by
/// index. 0 <= k <= count.
std::vector<std::int64_t> nearest(const float* similarity, std::int64_t count, std::int64_t k);

/// Weighted kNN (Wu et al., "Unsupervised feature learning via non-parametric instance
/// discrimination", CVPR 2018, as Lightly runs it): a test image's scores are the sums over its k
/// nearest training images, by cosine similarity s, of exp((s - s_1) / temperature) for each one's
/// class, s_1 the nearest one's: all in [0, k], at any temperature. Features [N, F] and [M, F]
/// float32, finite, of any size, labels int64 [N] on the CPU in [0, classes) -> scores [M, classes]
/// on the CPU.
Tensor knn_scores(const Tensor& train_features, const Tensor& train_labels,
                  const Tensor& test_features, std::int64_t classes,
                  const KnnOptions& options = {});

}  // namespace gradus::vicreg
