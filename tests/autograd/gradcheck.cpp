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
  CHECK_ERROR(gradcheck(f, {zeros({2})}), "[gradcheck] inputs must be float64; got float32");
  CHECK_ERROR(gradcheck(f, {x}, {.most_elements = 0}),
              "[gradcheck] most_elements must be at least 1; got 0");
}

TEST_CASE("the elements that are tried are evenly spread and go one step up and down") {
  const Tensor x = random_tensor<double>({12}, 1);
  const auto before = x.to_vector<double>();
  std::vector<std::vector<double>> shifts(12);  // of each element, call by call
  const auto f = [&](const std::vector<Variable>& v) {
    const auto now = v[0].value().to_vector<double>();
    for (std::size_t i = 0; i < now.size(); ++i)
      if (now[i] != before[i]) shifts[i].push_back(now[i] - before[i]);
    return square(v[0]);
  };
  CHECK(gradcheck(f, {x}, {.step = 0.25, .most_elements = 4}));
  for (std::size_t i = 0; i < shifts.size(); ++i) {
    CAPTURE(i);
    REQUIRE(shifts[i].size() == (i % 3 == 0 ? 2 : 0));
    if (shifts[i].empty()) continue;
    CHECK(shifts[i][0] == near(0.25, 1e-12));
    CHECK(shifts[i][1] == near(-0.25, 1e-12));
  }
}

TEST_CASE("outputs are weighted by numbers from 0.5 to 1.5 that the seed decides") {
  const auto weights_of = [x = random_tensor<double>({6}, 1)](std::uint64_t seed) {
    std::vector<double> weights;
    const auto f = [&](const std::vector<Variable>& v) {
      return square_with(v[0], [&weights, value = v[0].value().clone()](const Tensor& dy) {
        weights = dy.to_vector<double>();
        return std::vector<Tensor>{mul(dy, value * 2)};
      });
    };
    CHECK(gradcheck(f, {x}, {.seed = seed}));
    return weights;
  };
  const std::vector<double> weights = weights_of(3);
  REQUIRE(weights.size() == 6);
  CHECK(weights[0] != weights[1]);
  for (const double weight : weights) CHECK((weight >= 0.5 && weight <= 1.5));
  CHECK(weights_of(3) == weights);
  CHECK(weights_of(4) != weights);
}
