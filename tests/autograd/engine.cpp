#include <doctest/doctest.h>
#include <pthread.h>

#include <cmath>
#include <functional>

#include <gradus/autograd/ops.h>
#include <gradus/autograd/variable.h>
#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/near.h"
#include "tests/support/numbers.h"

using namespace gradus;
using namespace gradus::test;

namespace {

Variable leaf(double value) {
  return Variable(full({}, value, device_options(DType::float64)), true);
}
Variable leaf(const std::vector<double>& values) {
  return Variable(device_vector(values, {static_cast<std::int64_t>(values.size())}), true);
}
double item(const Variable& x) { return x.item<double>(); }
double grad(const Variable& x) { return x.grad().item<double>(); }
std::vector<double> grads(const Variable& x) { return x.grad().to_vector<double>(); }
using Doubles = std::vector<double>;
/// Bytes of tensors on the device of tests.
std::size_t in_use() { return memory_stats(test_device()).in_use; }

/// Runs `body` on a thread with a stack of 256 KiB: one recursion per node would overflow it.
void on_small_stack(std::function<void()> body) {
  pthread_attr_t attributes;
  REQUIRE(pthread_attr_init(&attributes) == 0);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr std::size_t stack = 512 << 10;  // frames are larger
#else
  constexpr std::size_t stack = 256 << 10;  // less the libraries' thread-local data
#endif
  REQUIRE(pthread_attr_setstacksize(&attributes, stack) == 0);
  pthread_t thread;
  const auto call = [](void* argument) -> void* {
    (*static_cast<std::function<void()>*>(argument))();
    return nullptr;
  };
  REQUIRE(pthread_create(&thread, &attributes, call, &body) == 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

Variable chain(const Variable& x, int length) {
  Variable y = x;
  for (int i = 0; i < length; ++i) y = y + 1;
  return y;
}

}  // namespace

TEST_CASE("gradients of a small expression") {
  // c = a b + b^3;  d = tanh(c) / a
  const Variable a = leaf(2), b = leaf(-0.5);
  const Variable c = a * b + pow(b, 3);
  const Variable d = tanh(c) / a;
  d.backward();
  const double t = std::tanh(-1.125), slope = 1 - t * t;
  CHECK(item(d) == near(t / 2));
  CHECK(grad(a) == near(slope * -0.5 / 2 - t / 4));
  CHECK(grad(b) == near(slope * (2 + 3 * 0.25) / 2));
}

TEST_CASE("a value used several times sums its gradients") {
  const Variable x = leaf(3);
  (x * x).backward();
  CHECK(grad(x) == 6);

  const Variable y = leaf(3);  // a diamond, with arms of unequal length
  const Variable left = y * 2, right = square(y + 1);
  const Variable top = left * right;
  (top + left).backward();
  CHECK(grad(y) == near(2 * 16 + 6 * 2 * 4 + 2));

  const Variable z = leaf(1);  // each level uses the one before twice
  Variable power = z;
  for (int i = 0; i < 20; ++i) power = power + power;
  power.backward();
  CHECK(grad(z) == 1 << 20);
}

TEST_CASE("gradients accumulate until they are zeroed") {
  Variable x = leaf(3);
  CHECK_FALSE(x.grad().defined());
  square(x).backward();
  square(x).backward();
  CHECK(grad(x) == 12);
  x.zero_grad();
  CHECK_FALSE(x.grad().defined());
  square(x).backward();
  CHECK(grad(x) == 6);
}

TEST_CASE("backward of a leaf, and with a given gradient") {
  Variable x = leaf(Doubles{1, 2});
  const Tensor weights = device_vector(Doubles{10, 20}, {2});
  x.backward(weights);
  CHECK(grads(x) == Doubles{10, 20});
  CHECK_FALSE(x.grad().shares_storage(weights));
  square(x).backward(weights);
  CHECK(grads(x) == Doubles{30, 100});
  CHECK(weights.to_vector<double>() == Doubles{10, 20});
}

TEST_CASE("NoGrad and detach cut the graph") {
  const Variable x = leaf(3);
  {
    const NoGrad outer;
    { const NoGrad inner; }
    CHECK_FALSE(grad_enabled());
    CHECK_FALSE(square(x).requires_grad());
  }
  CHECK(grad_enabled());
  CHECK(square(x).requires_grad());
  const Variable y = square(x).detach();
  CHECK_FALSE(y.requires_grad());
  (x * y).backward();
  CHECK(grad(x) == 9);
  CHECK_FALSE((Variable(ones({2})) * 2).requires_grad());
}

TEST_CASE("a freed graph is an error and changes no gradient") {
  const Variable x = leaf(3), other = leaf(1);
  const Variable y = square(x), z = y * other, w = exp(y) * other;
  z.backward();
  CHECK(grad(x) == 6);
  CHECK(grad(other) == 9);
  const char* message = "[backward] the graph was freed by an earlier backward (at ";
  CHECK_ERROR(z.backward(), message);
  CHECK_ERROR(w.backward(), message);  // shares square(x) with it
  CHECK_ERROR(w.backward(), "(at square)");
  CHECK(grad(x) == 6);
  CHECK(grad(other) == 9);
}

TEST_CASE("retain_graph keeps the graph") {
  const Variable x = leaf(3);
  const Variable y = square(x), z = y * 2;
  z.backward({}, true);
  y.backward({}, true);
  z.backward();
  CHECK(grad(x) == 12 + 6 + 12);
  CHECK_ERROR(z.backward(), "freed");
}

TEST_CASE("a branch without gradient is freed with the rest") {
  const Variable x = leaf(3);
  const Variable y = square(x);
  // An op that passes no gradient on to y.
  const Variable z = make_variable("stop", y.value(), {&y, &x}, [](const Tensor& dy) {
    return std::vector<Tensor>{Tensor(), dy};
  });
  z.backward();
  CHECK(grad(x) == 1);
  CHECK_ERROR(y.backward(), "freed by an earlier backward (at square)");
}

TEST_CASE("unused inputs get no gradient") {
  const Variable x = leaf(3), unused = leaf(4);
  const Variable dropped = x * unused;
  square(x).backward();
  CHECK(grad(x) == 6);
  CHECK_FALSE(unused.grad().defined());
}

TEST_CASE("constants get no node, and only needed gradients are computed") {
  const Variable x = leaf(Doubles{1, 2});
  const Variable constant(device_vector(Doubles{3, 4}, {2}));
  sum(constant * x + constant).backward();
  CHECK(grads(x) == Doubles{3, 4});
  CHECK_ERROR(constant.grad(), "[grad] only a leaf that requires a gradient keeps one");
}

TEST_CASE("gradients flow back through broadcasting") {
  const Variable matrix(ones({2, 3}, device_options(DType::float64)), true);
  const Variable row = leaf(Doubles{1, 2, 3}), scalar = leaf(2);
  const Variable column(device_vector(Doubles{1, 10}, {2, 1}), true);
  sum(matrix * row * column * scalar).backward();
  CHECK(grads(matrix) == Doubles{2, 4, 6, 20, 40, 60});
  CHECK(grads(row) == Doubles{22, 22, 22});
  CHECK(column.grad().shape() == Shape{2, 1});
  CHECK(grads(column) == Doubles{12, 12});
  CHECK(scalar.grad().shape() == Shape{});
  CHECK(grad(scalar) == 66);
}

TEST_CASE("leaves own their gradients") {
  const Variable a = leaf(Doubles{1, 2}), b = leaf(Doubles{3, 4});
  const Tensor dy = device_vector(Doubles{1, 1}, {2});
  (a + b).backward(dy);
  CHECK(a.grad().unique());
  Tensor gradient = a.grad();
  gradient.fill(7);
  CHECK(grads(b) == Doubles{1, 1});
  CHECK(dy.to_vector<double>() == Doubles{1, 1});

  // Views of one gradient, as of concat and reshape, do not tie leaves together either.
  const Variable c = leaf(Doubles{1, 2}), d = leaf(Doubles{3});
  concat({reshape(c, {2}), d}).backward(device_vector(Doubles{1, 2, 3}, {3}));
  CHECK(grads(c) == Doubles{1, 2});
  CHECK(grads(d) == Doubles{3});
  CHECK_FALSE(c.grad().shares_storage(d.grad()));
}

TEST_CASE("a gradient that someone holds is not changed in place") {
  const Variable x = leaf(3);
  square(x).backward();
  const Tensor held = x.grad();
  square(x).backward();
  CHECK(held.item<double>() == 6);
  CHECK(grad(x) == 12);

  // dy reaches the two inputs of add as one tensor; one of them then accumulates more.
  const Variable a = leaf(1), b = leaf(1);
  const Variable u = a * 2, v = b * 3;
  (u + v + u * 5).backward();
  CHECK(grad(a) == 12);
  CHECK(grad(b) == 3);
}

TEST_CASE("set_grad replaces a gradient") {
  Variable x = leaf(3);
  x.set_grad(full({}, 5, device_options(DType::float64)));
  square(x).backward();
  CHECK(grad(x) == 11);
  CHECK_ERROR(x.set_grad(zeros({2}, {DType::float64})),
              "[set_grad] the gradient must be float64 of shape [] on");
  CHECK_ERROR(x.set_grad(zeros({2}, {DType::float64})), "; got float64 of shape [2] on cpu");
  CHECK_ERROR(x.set_grad(zeros({})), "got float32 of shape []");
  Variable y = square(x);
  CHECK_ERROR(y.set_grad(zeros({})), "[set_grad] only a leaf that requires a gradient keeps one");
}

TEST_CASE("bad calls are errors") {
  const Variable x = leaf(Doubles{1, 2});
  CHECK_ERROR(square(x).backward(),
              "[backward] a value of shape [2] needs the gradient of its elements");
  CHECK_ERROR(square(x).backward(zeros({3}, {DType::float64})),
              "[backward] the gradient must be float64 of shape [2] on");
  CHECK_ERROR(square(x).backward(zeros({3}, {DType::float64})),
              "; got float64 of shape [3] on cpu");
  CHECK_ERROR(square(x).backward(zeros({2})), "got float32 of shape [2]");
  CHECK_ERROR(Variable(ones({})).backward(),
              "[backward] the value does not depend on anything that requires a gradient");
  CHECK_ERROR(Variable(zeros({2}, {DType::int64}), true),
              "[variable] only floating tensors have gradients; got int64");
  CHECK_ERROR(Variable(Tensor(), true),
              "[variable] a value that requires a gradient must be defined");
  CHECK_ERROR(square(x).grad(), "[grad] only a leaf that requires a gradient keeps one");
  const Variable miscounted = make_variable("pair", ones({}, {DType::float64}), {&x},
                                            [](const Tensor&) { return std::vector<Tensor>(2); });
  CHECK_ERROR(miscounted.backward(), "[pair] its backward function gave 2 gradients for 1 inputs");
  const auto one = [](const Shape& shape) { return ones(shape, device_options(DType::float64)); };
  const Variable misshaped = make_variable(
      "cut", one({}), {&x}, [one](const Tensor&) { return std::vector<Tensor>{one({1})}; });
  CHECK_ERROR(misshaped.backward(), "[leaf] its gradient has shape [1], which does not sum to");
  const Variable mistyped = make_variable("half", x.value().clone(), {&x}, [](const Tensor& dy) {
    return std::vector<Tensor>{dy.to(DType::float32)};
  });
  CHECK_ERROR(mistyped.backward(one({2})), "[leaf] its gradient must be float64 on");
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("a gradient on another device is an error") {
  if (test_device() == Device::cpu) return;
  const Variable x = leaf(Doubles{1, 2});
  const Tensor elsewhere = ones({2}, {DType::float64, Device::cpu});
  constexpr const char* message =
      "the gradient must be float64 of shape [2] on cuda; got float64 of shape [2] on cpu";
  CHECK_ERROR(exp(x).backward(elsewhere), message);
  CHECK_ERROR(x.backward(elsewhere), message);
  CHECK_ERROR(Variable(x).set_grad(elsewhere), message);
}

TEST_CASE("an op keeps its name") {
  const Variable x = leaf(1);
  Variable y;
  {
    const std::string name = "an op whose name is made while the program runs";
    y = make_variable(name, x.value().clone(), {&x},
                      [](const Tensor&) { return std::vector<Tensor>(2); });
  }
  CHECK_ERROR(y.backward(), "[an op whose name is made while the program runs]");
}

TEST_CASE("autograd's ops report errors as the tensor ops do") {
  const Variable x = leaf(Doubles{1, 2});
  CHECK_ERROR(sum(x, {1}), "[sum] axis 1 is out of range for shape [2]");
  CHECK_ERROR(mean(x, {1}), "[mean] axis 1 is out of range for shape [2]");
  CHECK_ERROR(variance(x, {1}), "[variance] axis 1 is out of range for shape [2]");
  CHECK_ERROR(max(x, {1}), "[max] axis 1 is out of range for shape [2]");
  CHECK_ERROR(sum(Variable()), "[sum] x is undefined");
  CHECK_ERROR(add(x, Variable()), "[add] b is undefined");
}

TEST_CASE("very long chains need no stack, forward or back, and leak nothing" * cpu_only()) {
  const std::size_t start = memory_stats().in_use;
  for (int length : {100'000, 1'000'000}) {
    CAPTURE(length);
    double gradient = 0;
    on_small_stack([&] {
      const Variable x = leaf(1);
      chain(x, length).backward();
      gradient = grad(x);
    });
    CHECK(gradient == 1);
    CHECK(memory_stats().in_use == start);
    on_small_stack([&] {
      const Variable x = leaf(1);
      const Variable dropped = chain(x, length);  // destroyed without backward
    });
    CHECK(memory_stats().in_use == start);
  }
}

TEST_CASE("a graph with many shared nodes is destroyed without recursion" * cpu_only()) {
  const std::size_t start = memory_stats().in_use;
  on_small_stack([&] {
    const Variable x = leaf(1);
    Variable y = x, older = x;
    for (int i = 0; i < 100'000; ++i) {  // each value is used by the next two
      Variable next = y * 0.5 + older * 0.5;
      older = y;
      y = next;
    }
  });
  CHECK(memory_stats().in_use == start);
}

TEST_CASE("a wide graph" * cpu_only()) {
  const Variable x = leaf(2);
  std::vector<Variable> rows;
  for (int i = 0; i < 10'000; ++i) rows.push_back(reshape(x * i, {1}));
  sum(concat(std::span<const Variable>(rows))).backward();
  CHECK(grad(x) == 10'000.0 * 9'999 / 2);
}

TEST_CASE("backward frees saved activations as it goes") {
  const std::int64_t n = pick_size(1 << 18, 1 << 14);
  const std::size_t bytes = static_cast<std::size_t>(n) * sizeof(float);
  constexpr int length = 16;
  const std::size_t start = in_use();
  {
    const Variable x(random_tensor<float>({n}, 1), true);
    Variable y = x;
    for (int i = 0; i < length; ++i) y = tanh(y);  // each saves its result
    CHECK(in_use() == start + (length + 1) * bytes);
    const Variable total = sum(y);
    y = Variable();
    reset_peak_memory(test_device());
    total.backward();
    // At the first step the gradient in and the gradient out come on top of the saved results; at
    // each later one a saved result has gone.
    CHECK(memory_stats(test_device()).peak_in_use <= start + (length + 3) * bytes + 1024);
    // x and its gradient are left (and total, one element).
    CHECK(in_use() <= start + 2 * bytes + 64);
  }
  CHECK(in_use() == start);
}

TEST_CASE("an op keeps only what its backward reads") {
  const std::int64_t n = pick_size(1 << 18, 1 << 14);
  const std::size_t bytes = static_cast<std::size_t>(n) * sizeof(float);
  const Variable x(ones({n}, device_options()), true);
  const std::size_t start = in_use();
  const Variable y = sum((x + 1.0) + x);  // sums save nothing
  CHECK(in_use() <= start + 64);
  const Variable constant(ones({n}, device_options()));
  const Variable z = sum((x + 1.0) * constant);  // only the constant factor is read
  CHECK(in_use() <= start + bytes + 128);
}
