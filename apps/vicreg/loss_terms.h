// The numbers of a loss, wherever they are kept or shown.
#pragma once

namespace gradus::vicreg {

/// The loss of a step and its terms, unweighted (nn/vicreg_loss.h).
struct LossTerms {
  double total = 0, invariance = 0, variance = 0, covariance = 0;
};

/// One of them: its key in metrics.jsonl, its name in the line of progress, and its panel's title
/// and colour in curves.svg.
struct LossTerm {
  double LossTerms::*value;
  const char *key, *brief, *title, *color;
};

inline constexpr LossTerm loss_terms[] = {
    {&LossTerms::total, "loss", "loss", "Loss", "#1f5a96"},
    {&LossTerms::invariance, "invariance", "inv", "Invariance", "#2a7f62"},
    {&LossTerms::variance, "variance", "var", "Variance", "#b8552b"},
    {&LossTerms::covariance, "covariance", "cov", "Covariance", "#74479c"},
};

}  // namespace gradus::vicreg
