// Exercise 04: a step of Adam.
//
// Adam keeps two running averages for each parameter: m of its gradient g, and v of g squared. It
// moves the parameter by lr m / sqrt(v): a parameter whose gradients agree moves by lr, however
// small they are (until they are as small as eps, which keeps the divisor from being 0).
//
//   m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
//   p = p - lr mhat / (sqrt(vhat) + eps),   mhat = m / (1 - beta1^t),   vhat = v / (1 - beta2^t)
//
// m and v start at 0, which pulls them towards 0 at first; the divisions make up for that. t counts
// steps from 1.
//
// Task: one step for all elements, with beta1 = 0.9, beta2 = 0.999, eps = 1e-8. Change p, m and v
// in place; the caller keeps m and v for the next step.
//
// In the library: optim/adam_update.h.
#pragma once

#include <cmath>
#include <vector>

inline void adam_step(std::vector<float>& p, const std::vector<float>& g, std::vector<float>& m,
                      std::vector<float>& v, int t, float lr) {
  // TODO
}
