// The loss of EMP-SSL: Tong, Chen, Ma and LeCun, "EMP-SSL: Towards Self-Supervised Learning in One
// Training Epoch", 2023. Its second term is the total coding rate of Yu, Chan, You, Song and Ma,
// "Learning Diverse and Discriminative Representations via the Principle of Maximal Coding Rate
// Reduction", NeurIPS 2020.
#pragma once

#include <gradus/autograd/variable.h>
#include <gradus/tensor/communicator.h>

namespace gradus::nn {

/// The weight and the scale of the loss below; the defaults are EMP-SSL's program's.
struct CodingRateOptions {
  double similarity = 200;  ///< weight of the views' similarity
  double eps = 0.2;         ///< squared distortion up to which embeddings are coded; positive
};

/// What coding_rate_loss computes, scalars of shape [].
struct CodingRateLoss {
  Variable total;        ///< -options.similarity similarity - coding_rate
  Variable similarity;   ///< from 0 to 1; 1 where all views of each image agree
  Variable coding_rate;  ///< in nats, smallest where all embeddings are one point
};

/// For embeddings z [V N, D] of V views of the same N images, N >= 2, V >= 2; view v of image n is
/// row v N + n. Rows are divided by their length first; z_v is the [N, D] of one view, mean the
/// mean of all views, [N, D]:
///
///   similarity  = 1/(V N) sum_vn cos(z_vn, mean_n)
///   coding_rate = 1/V sum_v 1/2 log det (I + D / (N eps) z_v^T z_v)
///
/// which is the same with z_v z_v^T in the place of z_v^T z_v: the smaller one of the two is taken.
/// Embeddings that are all one point have similarity 1 and the rate 1/2 log(1 + D / eps); those
/// that fill d <= min(N, D) dimensions evenly have d/2 log(1 + D / (d eps)).
///
/// With a communicator z is this member's part of the batch, as many images as each other member
/// has, and the loss is that of the whole batch: they exchange the embeddings.
CodingRateLoss coding_rate_loss(const Variable& z, std::int64_t views,
                                const CodingRateOptions& options = {},
                                Communicator* communicator = nullptr);

}  // namespace gradus::nn
