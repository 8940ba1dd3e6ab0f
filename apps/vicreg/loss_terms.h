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

/// One of them: its key in metrics.jsonl, its name in the line of progress, and its panel's title
/// and colour in curves.svg.
struct LossTerm {
  double LossTerms::*value;
  const char *key, *brief, *title, *color;
};

inline constexpr LossTerm vicreg_terms[] = {
    {&LossTerms::total, "loss", "loss", "Loss", "#1f5a96"},
    {&LossTerms::invariance, "invariance", "inv", "Invariance", "#2a7f62"},
    {&LossTerms::variance, "variance", "var", "Variance", "#b8552b"},
    {&LossTerms::covariance, "covariance", "cov", "Covariance", "#74479c"},
};

inline constexpr LossTerm coding_rate_terms[] = {
    {&LossTerms::total, "loss", "loss", "Loss", "#1f5a96"},
    {&LossTerms::similarity, "similarity", "sim", "Similarity", "#2a7f62"},
    {&LossTerms::coding_rate, "coding_rate", "rate", "Coding rate, nats", "#b8552b"},
};

/// The numbers of a loss, the total first.
constexpr std::span<const LossTerm> loss_terms(LossName name) {
  if (name == LossName::coding_rate) return coding_rate_terms;
  return vicreg_terms;
}

}  // namespace gradus::vicreg
