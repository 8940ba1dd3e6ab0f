#include "check.h"

GRADUS_EXERCISE {
  const std::vector<double> x{0.5, -2, 3};
  const auto square_sum = [](const std::vector<double>& v) {
    return v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
  };
  expect_near(
      "the gradient of x0^2 + x1^2 + x2^2", numerical_gradient(square_sum, x),
      std::vector<double>{1, -4, 6}, 1e-7,
      "2 x_i: (f(x + h) - f(x - h)) / (2 h), with the brackets; a one-sided quotient is not close "
      "enough");
  const auto product = [](const std::vector<double>& v) { return std::exp(v[0]) * v[1] * v[2]; };
  expect_near("the gradient of exp(x0) x1 x2", numerical_gradient(product, x),
              std::vector<double>{-6 * std::exp(0.5), 3 * std::exp(0.5), -2 * std::exp(0.5)}, 1e-7,
              "put each element back before the next one moves");
}
