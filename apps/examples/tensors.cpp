// Tensors: shapes, views, broadcasting, reductions, random numbers.
#include <gradus/gradus.h>

using namespace gradus;

int main() {
  const Tensor x = arange(0, 6).to(DType::float32).reshape({2, 3});
  fmt::print("x =\n{}\n", x);

  // A view: other sizes, the same memory.
  Tensor flat = x.reshape({6});
  flat.fill(1);
  fmt::print("x after its view was filled =\n{}\n", x);

  // Broadcasting: [2, 3] + [3] + [2, 1].
  const Tensor row = from_vector<float>({10, 20, 30}, {3});
  const Tensor column = from_vector<float>({100, 200}, {2, 1});
  fmt::print("x + row + column =\n{}\n", x + row + column);
  fmt::print("mean of each column = {}\n", mean(x + column, {0}));

  // Random numbers are a function of (seed, position): the same on every machine and device.
  Generator rng(7);
  fmt::print("uniform = {}\n", uniform({3}, 0, 1, rng));

  try {
    x + from_vector<float>({1, 2}, {2});
  } catch (const Error& error) {
    fmt::print("error: {}\n", error.what());
  }
}
