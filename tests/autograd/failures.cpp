// A backward that throws changes no gradient.
#include <doctest/doctest.h>

#include <gradus/autograd/checkpoint.h>
#include <gradus/autograd/ops.h>
#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"

using namespace gradus;
using namespace gradus::test;

namespace {

Variable leaf(double value) {
  return Variable(full({}, value, device_options(DType::float64)), true);
}
double grad(const Variable& x) { return x.grad().item<double>(); }

/// x, whose backward throws while `broken`.
Variable fragile(const Variable& x, const bool& broken) {
  return make_variable("fragile", x.value().clone(), {&x}, [&broken](const Tensor& dy) {
    check(!broken, "fragile", "broken");
    return std::vector<Tensor>{dy};
  });
}

}  // namespace

TEST_CASE("a backward that throws leaves the leaves' gradients as they were") {
  bool broken = true;
  Variable x = leaf(2);
  // The gradient of 2 x arrives before the other path throws, whichever is walked first.
  const auto run = [&] { (x * 2 + fragile(x * 2, broken)).backward(); };
  const auto run_other = [&] { (fragile(x * 2, broken) + x * 2).backward(); };
  CHECK_ERROR(run(), "[fragile] broken");
  CHECK_FALSE(x.grad().defined());
  CHECK_ERROR(run_other(), "[fragile] broken");
  CHECK_FALSE(x.grad().defined());
  broken = false;
  run();
  CHECK(grad(x) == 4);
  broken = true;
  CHECK_ERROR(run(), "[fragile] broken");
  CHECK_ERROR(run_other(), "[fragile] broken");
  CHECK(grad(x) == 4);
  broken = false;
  run_other();
  CHECK(grad(x) == 8);
}

TEST_CASE("a graph that was kept can be walked again after a failure") {
  bool broken = true;
  const Variable x = leaf(2);
  const Variable u = x * 3;
  const Variable y = fragile(u, broken) + u + square(u) * 0;
  CHECK_ERROR(y.backward({}, true), "[fragile] broken");
  CHECK_FALSE(x.grad().defined());
  broken = false;
  y.backward();
  CHECK(grad(x) == 6);  // no gradient of u is left over from the first walk
}

TEST_CASE("a failure after a checkpoint's own backward undoes that, too") {
  bool broken = true;
  const Variable x = leaf(2), w = leaf(5), own = leaf(7);
  const auto run = [&](bool checkpoint_first) {
    const Variable inner = checkpoint([&](const auto& in) { return in[0] * w; }, {x * own});
    const Variable other = fragile(own * 3, broken);
    (checkpoint_first ? other + inner : inner + other).backward();
  };
  for (const bool checkpoint_first : {false, true}) {  // in the order that the graph is walked
    CHECK_ERROR(run(checkpoint_first), "[fragile] broken");
    CHECK_FALSE(x.grad().defined());
    CHECK_FALSE(w.grad().defined());
    CHECK_FALSE(own.grad().defined());
  }
  broken = false;
  run(true);
  CHECK(grad(w) == 14);
  CHECK(grad(x) == 35);
  CHECK(grad(own) == 13);
  broken = true;
  for (const bool checkpoint_first : {false, true}) {
    CHECK_ERROR(run(checkpoint_first), "[fragile] broken");
    CHECK(grad(w) == 14);
    CHECK(grad(x) == 35);
    CHECK(grad(own) == 13);
  }
}

TEST_CASE("gradients accumulate over backwards to the bit, and into a tensor that is held") {
  const Variable x(random_tensor<float>({50}, 1), true);
  const Variable w(random_tensor<float>({50}, 2));
  const auto run = [&] { sum(tanh(x) * w).backward(); };
  run();
  const Tensor once = x.grad();
  run();
  CHECK_FALSE(x.grad().shares_storage(once));
  run();
  CHECK(x.grad().unique());
  CHECK(same_bits(x.grad(), once * 3));  // 2 g + g, rounded once as 3 g
}
