// The numbers of a loss, wherever they are kept or shown.
#pragma once

#include <cstdint>
#include <span>

namespace gradus::vicreg {

/// The losses to choose from: nn/vicreg_loss.h and nn/coding_rate_loss.h.
enum class LossName : std::uint8_t { vicreg, coding_rate };

/// The loss of a step and its terms, unweighted.
struct LossTerms {
  LossName name = LossName::vicreg;  ///< whose terms are set
  double total = 0;
  double invariance = 0, variance = 0, covariance = 0;
  double similarity = 0, coding_rate = 0;
};

/// One of them: its key in metrics.jsonl, its name in the line of progress, and its title in the
/// report.
struct LossTerm {
  double LossTerms::*value;
  const char *key, *brief, *title;
};

/// Those of nn::VICRegLoss.
inline constexpr LossTerm vicreg_terms[] = {
    {&LossTerms::total, "loss", "loss", "Loss"},
    {&LossTerms::invariance, "invariance", "inv", "Invariance"},
    {&LossTerms::variance, "variance", "var", "Variance"},
    {&LossTerms::covariance, "covariance", "cov", "Covariance"},
};

/// Those of nn::CodingRateLoss.
inline constexpr LossTerm coding_rate_terms[] = {
    {&LossTerms::total, "loss", "loss", "Loss"},
    {&LossTerms::similarity, "similarity", "sim", "Similarity"},
    {&LossTerms::coding_rate, "coding_rate", "rate", "Coding rate, nats"},
};

/// The numbers of a loss, the total first.
constexpr std::span<const LossTerm> loss_terms(LossName name) {
  switch (name) {
    case LossName::vicreg: return vicreg_terms;
    case LossName::coding_rate: return coding_rate_terms;
  }
  return {};
}

}  // namespace gradus::vicreg
