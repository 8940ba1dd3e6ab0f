// Signs that tell whether embeddings carry information, or have collapsed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <gradus/tensor/tensor.h>
#include "vicreg/loss_terms.h"

namespace gradus::vicreg {

/// Statistics of embeddings z [N, D]. All are NaN where z is not finite.
struct EmbeddingHealth {
  double std_mean = 0;  ///< mean over the dimensions of the unbiased standard deviation
  double std_min = 0;   ///< the smallest of them
  /// RankMe (Garrido et al., "RankMe", ICML 2023): exp(-sum_k p_k log p_k) with
  /// p_k = s_k / sum_j s_j + 1e-7, s the singular values of z (not centred); from 1 (all embeddings
  /// on a line through the origin) to min(N, D).
  double effective_rank = 0;
};

/// Measures z [N, D] float32, N >= 2, D >= 1. Costs an eigendecomposition of a square matrix of
/// size min(N, D).
EmbeddingHealth measure(const Tensor& z);

/// Below which values embeddings count as collapsed.
struct CollapseThresholds {
  double std_mean = 0.05;  ///< a healthy one is near 1
  double std_min = 1e-4;   ///< a dimension with less is constant
  double effective_rank = 0;
};
/// For so many embeddings in `dimensions` dimensions; the rank's is a two-hundredth of the
/// dimensions that they can span, at least 1.5.
CollapseThresholds collapse_thresholds(std::int64_t embeddings, std::int64_t dimensions);

/// A warning in plain words when so many embeddings in `dimensions` dimensions have collapsed, or
/// lost most of the dimensions that they can span; nothing otherwise. `loss` decides what it
/// advises.
std::optional<std::string> collapse_warning(const EmbeddingHealth& health, std::int64_t embeddings,
                                            std::int64_t dimensions,
                                            LossName loss = LossName::vicreg);

}  // namespace gradus::vicreg
