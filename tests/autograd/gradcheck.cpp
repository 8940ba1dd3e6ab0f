#include <gradus/autograd/gradcheck.h>

#include <doctest/doctest.h>

#include <gradus/autograd/ops.h>
#include "tests/support/errors.h"
#include "tests/support/near.h"
#include "tests/support/numbers.h"

using namespace gradus;
using namespace gradus::test;

namespace {

/// x^2 with a backward function of our choice.
Variable square_with(const Variable& x, BackwardFunction backward) {
  return make_variable("square", square(x.value()), {&x}, std::move(backward));
}

}  // namespace

TEST_CASE("a right gradient passes") {
  const auto f = [](const std::vector<Variable>& v) { return mul(v[0], exp(v[1])); };
  const GradcheckResult result =
      gradcheck(f, {random_tensor<double>({3, 2}, 1), random_tensor<double>({2}, 2)});
  CHECK(result);
  CHECK(result.message == "");
  CHECK(result.largest_error < 1e-8);
}

TEST_CASE("wrong gradients fail, and the first bad element is named") {
  const Tensor x = device_vector<double>({0.5, 1.5, -2}, {3});
  const auto run = [&](const std::function<Tensor(Tensor)>& spoil) {
    return gradcheck(
        [&](const std::vector<Variable>& v) {
          return square_with(v[0], [&, value = v[0].value().clone()](const Tensor& dy) {
            return std::vector<Tensor>{spoil(mul(dy, value * 2))};
          });
        },
        {x});
  };
  CHECK(run([](Tensor dx) { return dx; }));
  CHECK_FALSE(run([](Tensor dx) { return dx * 1.00001; }));
  CHECK_FALSE(run([](Tensor dx) { return neg(dx); }));
  CHECK_FALSE(run([](const Tensor&) { return Tensor(); }));
  CHECK_FALSE(run([](Tensor dx) { return dx * NAN; }));
  CHECK_FALSE(run([](Tensor dx) { return dx * INFINITY; }));
  const GradcheckResult one = run([](Tensor dx) {
    return dx + device_vector<double>({0, 0.1, 0}, {3});
  });
  CHECK_FALSE(one);
  CHECK(one.message.starts_with("input 0 element 1: analytic "));
  CHECK(one.largest_error == near(0.1, 1e-6));
}

TEST_CASE("the incoming gradient must be used") {
  const auto f = [](const std::vector<Variable>& v) {
    return square_with(v[0], [value = v[0].value().clone()](const Tensor&) {
      return std::vector<Tensor>{value * 2};
    });
  };
  CHECK_FALSE(gradcheck(f, {random_tensor<double>({4}, 1)}));
}

TEST_CASE("inputs without influence have the gradient zero") {
  const auto f = [](const std::vector<Variable>& v) { return v[1] * 2; };
  CHECK(gradcheck(f, {random_tensor<double>({2}, 1), random_tensor<double>({3}, 2)}));
  const auto constant = [](const std::vector<Variable>& v) { return v[0].detach(); };
  const GradcheckResult result = gradcheck(constant, {random_tensor<double>({2}, 1)});
  CHECK_FALSE(result);  // the value moves with its input, but no gradient says so
  CHECK(result.message.starts_with("input 0 element 0: analytic 0, numeric "));
}

TEST_CASE("inputs are left as they were, and must be float64") {
  const Tensor x = random_tensor<double>({5}, 1);
  const auto before = x.to_vector<double>();
  const auto f = [](const std::vector<Variable>& v) { return square(v[0]); };
  CHECK(gradcheck(f, {x}));
  CHECK(x.to_vector<double>() == before);
  // Of a tensor as large as this only some elements are tried, on request.
  int calls = 0;
  const auto counting = [&](const std::vector<Variable>& v) {
    ++calls;
    return square(v[0]);
  };
  CHECK(gradcheck(counting, {x}, {.most_elements = 2}));
  CHECK(calls == 1 + 2 * 2);
  CHECK_ERROR(gradcheck(f, {zeros({2})}), "[gradcheck] inputs must be float64; got float32");
  CHECK_ERROR(gradcheck(f, {x}, {.most_elements = 0}),
              "[gradcheck] most_elements must be at least 1; got 0");
}
