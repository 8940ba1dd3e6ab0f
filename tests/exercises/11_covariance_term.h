// A solution of exercise 11: VICReg's covariance term, with its gradient.
#pragma once

#include <vector>

struct Term {
  float loss = 0;
  std::vector<float> dz;  // [n, d]
};

inline Term covariance_term(const std::vector<float>& z, int n, int d) {
  std::vector<float> c = z, covariance(static_cast<std::size_t>(d * d));
  for (int j = 0; j < d; ++j) {
    float mean = 0;
    for (int i = 0; i < n; ++i) mean += z[i * d + j] / n;
    for (int i = 0; i < n; ++i) c[i * d + j] -= mean;
  }
  Term term{0, std::vector<float>(z.size())};
  for (int j = 0; j < d; ++j)
    for (int k = 0; k < d; ++k) {
      if (j == k) continue;
      float sum = 0;
      for (int i = 0; i < n; ++i) sum += c[i * d + j] * c[i * d + k] / (n - 1);
      term.loss += sum * sum / d;
      for (int i = 0; i < n; ++i) term.dz[i * d + j] += 4 * sum * c[i * d + k] / (d * (n - 1));
    }
  return term;
}
