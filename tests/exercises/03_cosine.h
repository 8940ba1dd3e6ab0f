// A solution of exercise 03: a learning rate schedule.
#pragma once

#include <cmath>
#include <numbers>

inline double cosine(int t, double lr, int warmup, int total) {
  if (t < warmup) return lr * t / warmup;
  if (t >= total) return 0;
  return lr * (1 + std::cos(std::numbers::pi * (t - warmup) / (total - warmup))) / 2;
}
