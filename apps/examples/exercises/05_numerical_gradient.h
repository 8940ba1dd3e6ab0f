// Exercise 05: a gradient without calculus.
//
// The derivative of f with respect to x_i is nearly (f(x + h e_i) - f(x - h e_i)) / (2 h): move one
// element a little up and down and see how the result moves (x + h e_i is x with h added to its
// element i). This is how each gradient in this library is tested. It costs two calls of f for each
// element, which is why nobody trains with it.
//
// Why both sides? The error of the one-sided (f(x + h) - f(x)) / h falls like h, that of the
// two-sided quotient like h^2. Why not a tiny h? The difference of two nearly equal numbers loses
// its digits.
//
// Task: the gradient of f at x, with h = 1e-5.
//
// In the library: autograd/gradcheck.cpp.
#pragma once

#include <functional>
#include <vector>

using Function = std::function<double(const std::vector<double>&)>;

inline std::vector<double> numerical_gradient(const Function& f, std::vector<double> x) {
  // TODO: for each element: up, f, down, f, and back to where it was.
  return {};
}
