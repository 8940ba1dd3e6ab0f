// Wrong: eps stands under the root, where it is as much as 1e-4 beside it.
// The checker says: after step 1, p\[1\] is
#pragma once

#include <cmath>
#include <vector>

inline void adam_step(std::vector<float>& p, const std::vector<float>& g, std::vector<float>& m,
                      std::vector<float>& v, int t, float lr) {
  const float beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f;
  for (std::size_t i = 0; i < p.size(); ++i) {
    m[i] = beta1 * m[i] + (1 - beta1) * g[i];
    v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
    const float mhat = m[i] / (1 - std::pow(beta1, static_cast<float>(t)));
    const float vhat = v[i] / (1 - std::pow(beta2, static_cast<float>(t)));
    p[i] -= lr * mhat / std::sqrt(vhat + eps);
  }
}
