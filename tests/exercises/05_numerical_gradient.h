// A solution of exercise 05: a gradient without calculus.
#pragma once

#include <functional>
#include <vector>

using Function = std::function<double(const std::vector<double>&)>;

inline std::vector<double> numerical_gradient(const Function& f, std::vector<double> x) {
  const double h = 1e-5;
  std::vector<double> gradient;
  for (double& element : x) {
    const double before = element;
    element = before + h;
    const double above = f(x);
    element = before - h;
    const double below = f(x);
    element = before;
    gradient.push_back((above - below) / (2 * h));
  }
  return gradient;
}
