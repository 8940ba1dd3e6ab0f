// Wrong: s is without eps.
// The checker says: where x is small, dgamma is
#pragma once

#include <cmath>
#include <vector>

struct BatchNormBackward {
  std::vector<float> dx;
  float dgamma = 0, dbeta = 0;
};

inline BatchNormBackward batch_norm_backward(const std::vector<float>& dy,
                                             const std::vector<float>& x, float gamma) {
  const auto n = static_cast<float>(x.size());
  float mean = 0, variance = 0;
  for (const float value : x) mean += value / n;
  for (const float value : x) variance += (value - mean) * (value - mean) / n;
  const float s = std::sqrt(variance);
  BatchNormBackward g;
  for (std::size_t i = 0; i < x.size(); ++i) {
    g.dbeta += dy[i];
    g.dgamma += dy[i] * (x[i] - mean) / s;
  }
  for (std::size_t i = 0; i < x.size(); ++i)
    g.dx.push_back(gamma / s * (dy[i] - g.dbeta / n - (x[i] - mean) / s * g.dgamma / n));
  return g;
}
