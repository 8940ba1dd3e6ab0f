// Exercise 03: a learning rate schedule.
//
// Training starts with small steps, for the first gradients are wild (warm-up), goes on with large
// ones, and ends with small ones to settle. With W = warmup steps of T in all, at step t = 0, 1,
// ...
//
//   t < W:  lr t / W                                      a straight line up to lr
//   else:   lr (1 + cos(pi (t - W) / (T - W))) / 2        half a cosine down to 0
//   t >= T: 0
//
// A pure function of t: a run that is interrupted and resumed needs no state for it.
//
// In the library: optim/schedule.cpp.
#pragma once

#include <cmath>
#include <numbers>

inline double cosine(int t, double lr, int warmup, int total) {
  // TODO: the three cases; std::numbers::pi.
  return 0;
}
