// Wrong: the quotient of one side, whose error is as large as h.
// The checker says: \[0\] is 1.00001, expected 1
#pragma once

#include <functional>
#include <vector>

using Function = std::function<double(const std::vector<double>&)>;

inline std::vector<double> numerical_gradient(const Function& f, std::vector<double> x) {
  const double h = 1e-5, here = f(x);
  std::vector<double> gradient;
  for (double& element : x) {
    const double before = element;
    element = before + h;
    gradient.push_back((f(x) - here) / h);
    element = before;
  }
  return gradient;
}
