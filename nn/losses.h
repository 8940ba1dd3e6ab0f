// Losses of supervised learning.
#pragma once

#include <gradus/autograd/variable.h>

namespace gradus::nn {

/// How cross_entropy makes targets of labels.
struct CrossEntropyOptions {
  double label_smoothing = 0;  ///< share of the target spread evenly over all classes, in [0, 1]
};

/// -1/N sum_i sum_c t_ic log softmax(logits)_ic, t_i = (1 - s) onehot(label_i) + s / classes;
/// logits [N, classes], labels int64 [N] with values in [0, classes), N >= 1 -> []. s is the
/// smoothing of Szegedy et al., "Rethinking the Inception architecture", CVPR 2016.
Variable cross_entropy(const Variable& logits, const Tensor& labels,
                       const CrossEntropyOptions& options = {});

/// mean (prediction - target)^2; equal shapes, not empty -> [].
Variable mse_loss(const Variable& prediction, const Variable& target);

/// The number of rows of logits [N, classes] whose label is among the k >= 1 largest; labels int64
/// [N] with values in [0, classes), both on any device.
/// Equal logits rank by class index; NaN ranks above all, and a label with NaN never counts.
std::int64_t count_top_k(const Tensor& logits, const Tensor& labels, std::int64_t k = 1);

}  // namespace gradus::nn
