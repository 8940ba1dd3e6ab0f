// Gradients: y = sum(x^2 + exp(-x)), dy/dx = 2 x - exp(-x), and a few steps down it.
#include <gradus/gradus.h>

using namespace gradus;

int main() {
  Variable x(from_vector<float>({-1, 0, 2}, {3}), true);
  const auto f = [](const Variable& v) { return sum(square(v) + exp(-v)); };

  f(x).backward();
  fmt::print("f(x) = {}\ndf/dx = {}\n", f(x), x.grad());

  optim::Sgd sgd({{"x", &x}}, {.lr = 0.2});
  for (int step = 0; step < 50; ++step) {
    sgd.zero_grad();
    f(x).backward();
    sgd.step();
  }
  fmt::print("least at x = {}, where f(x) = {:.6f}\n", x, f(x).item<float>());
}
