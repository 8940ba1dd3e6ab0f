// A solution of exercise 10: VICReg's variance term, with its gradient.
#pragma once

#include <cmath>
#include <vector>

struct Term {
  float loss = 0;
  std::vector<float> dz;  // [n, d]
};

inline Term variance_term(const std::vector<float>& z, int n, int d) {
  Term term{0, std::vector<float>(z.size())};
  for (int j = 0; j < d; ++j) {
    float mean = 0, squares = 0;
    for (int i = 0; i < n; ++i) mean += z[i * d + j] / n;
    for (int i = 0; i < n; ++i) squares += (z[i * d + j] - mean) * (z[i * d + j] - mean);
    const float s = std::sqrt(squares / (n - 1) + 1e-4f);
    if (s >= 1) continue;
    term.loss += (1 - s) / d;
    for (int i = 0; i < n; ++i) term.dz[i * d + j] = -(z[i * d + j] - mean) / (d * (n - 1) * s);
  }
  return term;
}
