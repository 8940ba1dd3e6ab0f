// Exercise 03: a learning rate schedule.
//
// Training starts with small steps, for the first gradients are wild (warm-up), goes on with large
// ones, and ends with small ones to settle. With W steps of warm-up and T steps in all, those of
// the warm-up included, the rate of step t = 0, 1, 2, ... is
//
//   t < W:       lr t / W                                  a straight line up to lr
//   W <= t < T:  lr (1 + cos(pi (t - W) / (T - W))) / 2    half a cosine down to 0
//   T <= t:      0
//
// A pure function of t: a run that is interrupted and resumed needs no state for it.
//
// Task: the rate of step t, with W = warmup and T = total. (These are whole numbers, of which C++
// rounds the quotient down: t / warmup is 0 as long as t < warmup.)
//
// In the library: optim/schedule.cpp.
#pragma once

#include <cmath>
#include <numbers>

inline double cosine(int t, double lr, int warmup, int total) {
  // TODO: the three cases; pi is std::numbers::pi.
  return 0;
}
