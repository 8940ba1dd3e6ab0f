// A multilayer perceptron that tells two spirals apart.
#include <gradus/gradus.h>

#include <cmath>

using namespace gradus;

namespace {

/// Points [n, 2] on two spirals, one after the other in turn, and which spiral each is on: [n].
std::pair<Tensor, Tensor> spirals(std::int64_t n) {
  Tensor points = empty({n, 2}), labels = empty({n}, {DType::int64});
  for (std::int64_t i = 0; i < n; ++i) {
    const float t = 0.5f + 5.5f * static_cast<float>(i) / static_cast<float>(n);
    const float sign = i % 2 == 0 ? 1.0f : -1.0f;
    points.data<float>()[2 * i] = sign * t * std::cos(t) / 6;
    points.data<float>()[2 * i + 1] = sign * t * std::sin(t) / 6;
    labels.data<std::int64_t>()[i] = i % 2;
  }
  return {points, labels};
}

}  // namespace

int main() {
  Generator rng(0);
  nn::Sequential net;
  net.add<nn::Linear>({.in_features = 2, .out_features = 64}, rng);
  net.add<nn::GELU>();
  net.add<nn::Linear>({.in_features = 64, .out_features = 64}, rng);
  net.add<nn::GELU>();
  net.add<nn::Linear>({.in_features = 64, .out_features = 2}, rng);
  fmt::print("{} parameters\n", net.parameter_count());

  const auto [points, labels] = spirals(400);
  optim::Adam adamw(optim::one_group(net.parameters(), 1e-2), {.lr = 1e-2, .decoupled = true});
  for (int step = 0; step < 300; ++step) {
    const Variable loss = nn::cross_entropy(net(points), labels);
    adamw.zero_grad();
    loss.backward();
    adamw.step();
    if (step % 50 == 0) fmt::print("step {}: loss {:.4f}\n", step, loss.item<float>());
  }
  const std::int64_t right = nn::count_top_k(net(points).value(), labels);
  fmt::print("accuracy {:.3f}\n", static_cast<double>(right) / 400);
}
