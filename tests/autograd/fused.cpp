// Operations as one (autograd/ops_fused.h) against the plain lines in their docstrings.
#include <doctest/doctest.h>

#include <gradus/autograd/ops_fused.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/numbers.h"

using namespace gradus;
using namespace gradus::test;

namespace {

constexpr double eps = 1e-3;

struct Sizes {
  Shape x, weight;
  Conv2dOptions options;
};

/// x, gamma, beta, weight as leaves.
std::vector<Variable> make_inputs(const Sizes& sizes, DType dtype) {
  const std::int64_t C = sizes.x[-1];
  const Shape shapes[] = {sizes.x, {C}, {C}, sizes.weight};
  std::vector<Variable> inputs;
  for (unsigned i = 0; i < 4; ++i) {
    const DType own = i == 0 ? dtype : compute_dtype(dtype);
    inputs.emplace_back(random_tensor<double>(shapes[i], 7 + i).to(own), true);
  }
  return inputs;
}

}  // namespace

TEST_CASE("batch norm and ReLU as one have the results of the plain lines") {
  const Shape shape{5, 9, 7, 24};
  for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    for (const bool training : {true, false}) {
      for (const bool with_residual : {false, true}) {
        CAPTURE(name(dtype));
        CAPTURE(training);
        CAPTURE(with_residual);
        const BatchNormOptions options{.eps = eps, .training = training};
        const DType parameters = compute_dtype(dtype);
        const BatchStatistics given{random_tensor<double>({24}, 1).to(parameters),
                                    square(random_tensor<double>({24}, 2)).to(parameters)};
        const auto run = [&](bool fused) {
          const auto in = make_inputs({shape, {1}, {}}, dtype);
          const Variable residual(random_tensor<double>(shape, 4).to(dtype), true);
          const BatchStatistics statistics =
              training ? batch_norm_statistics(in[0].value()) : given;
          Variable y;
          if (fused) {
            y = batch_norm_relu(in[0], statistics, in[1], in[2], options,
                                with_residual ? residual : Variable());
          } else {
            y = batch_norm(in[0], statistics, in[1], in[2], options);
            y = relu(with_residual ? y + residual : y);
          }
          y.backward(random_tensor<double>(shape, 3).to(dtype));
          std::vector<Tensor> results{y.value(), in[0].grad(), in[1].grad(), in[2].grad()};
          if (with_residual) results.push_back(residual.grad());
          return results;
        };
        const auto actual = run(true), expected = run(false);
        for (std::size_t i = 0; i < expected.size(); ++i) {
          CAPTURE(i);
          // The gradients of x and gamma: the compiler rounds the sums of a masked and of a plain
          // gradient at other places. In bfloat16, the sum with the residual is rounded once
          // instead of twice.
          const bool summed = i == 1 || i == 2;
          if (dtype == DType::bfloat16 && with_residual) {
            CHECK(rms_error(actual[i], expected[i]) <= (i == 0 ? 0x1p-7 : 0.1));
          } else if (dtype != DType::float64 && summed) {
            CHECK(rms_error(actual[i], expected[i]) <= 1e-6);
          } else {
            CHECK(same_bits(actual[i], expected[i]));
          }
        }
      }
    }
  }
}

TEST_CASE("an output of batch norm and ReLU that is read once, twice or thrice") {
  const Shape shape{3, 4, 5, 8};
  for (const DType dtype : {DType::float32, DType::float64}) {
    for (const int readers : {0, 1, 2, 3}) {
      CAPTURE(name(dtype));
      CAPTURE(readers);
      const auto run = [&](bool fused) {
        const auto in = make_inputs({shape, {1}, {}}, dtype);
        const Variable residual(random_tensor<double>(shape, 4).to(dtype), true);
        const BatchStatistics statistics = batch_norm_statistics(in[0].value());
        const Variable y =
            fused ? batch_norm_relu(in[0], statistics, in[1], in[2], {.eps = eps}, residual)
                  : relu(batch_norm(in[0], statistics, in[1], in[2], {.eps = eps}) + residual);
        Variable total = sum(residual * residual);
        if (readers > 0) total = total + sum(square(y));
        if (readers > 1) total = total + sum(exp(y));
        if (readers > 2) total = total + sum(y);
        total.backward();
        return std::vector<Tensor>{in[0].grad(), in[1].grad(), in[2].grad(), residual.grad()};
      };
      const auto actual = run(true), expected = run(false);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        CAPTURE(i);
        REQUIRE(actual[i].defined() == expected[i].defined());
        if (!expected[i].defined()) continue;
        CHECK(rms_error(actual[i], expected[i]) <= (dtype == DType::float64 ? 1e-14 : 1e-6));
      }
    }
  }
}

TEST_CASE("a convolution's statistics are those of its output") {
  for (const Sizes& sizes : {Sizes{{3, 7, 5, 3}, {5, 3, 3, 3}, {.stride = 2, .padding = 1}},
                             Sizes{{1, 1, 1, 2}, {4, 1, 1, 1}, {.groups = 2}}}) {
    for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
      CAPTURE(name(dtype));
      const auto in = make_inputs(sizes, dtype);
      const auto [y, statistics] = conv2d_with_statistics(in[0], in[3], sizes.options);
      CHECK(same_bits(y.value(), conv2d(in[0], in[3], {}, sizes.options).value()));
      const BatchStatistics expected = batch_norm_statistics(y.value());
      CHECK(same_bits(statistics.mean, expected.mean));
      CHECK(same_bits(statistics.variance, expected.variance));
    }
  }
  CHECK_THROWS_WITH_AS(
      conv2d_with_statistics(Variable(zeros({0, 2, 2, 1})), Variable(ones({1, 1, 1, 1}))),
      "[conv2d] an output without images has no statistics; got input [0, 2, 2, 1]", Error);
}
