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

/// x, gamma, beta, weight as leaves, or as constants where `needs` says no.
std::vector<Variable> make_inputs(const Sizes& sizes, DType dtype, const std::vector<bool>& needs) {
  const std::int64_t C = sizes.x[-1];
  const Shape shapes[] = {sizes.x, {C}, {C}, sizes.weight};
  std::vector<Variable> inputs;
  for (unsigned i = 0; i < 4; ++i) {
    const DType own = i == 0 ? dtype : compute_dtype(dtype);
    inputs.emplace_back(random_tensor<double>(shapes[i], 7 + i).to(own), needs[i]);
  }
  return inputs;
}

Variable one_by_one(const std::vector<Variable>& in, const Conv2dOptions& options) {
  const BatchStatistics statistics = batch_norm_statistics(in[0].value());
  const Variable y = batch_norm_relu(in[0], statistics, in[1], in[2], {.eps = eps});
  return conv2d(y, in[3], {}, options);
}

Variable as_one(const std::vector<Variable>& in, const Conv2dOptions& options) {
  return batch_norm_relu_conv2d(in[0], batch_norm_statistics(in[0].value()), in[1], in[2],
                                {.eps = eps}, in[3], options);
}

/// Values and gradients of the two ways have the same bits.
void compare_ways(const Sizes& sizes, DType dtype,
                  const std::vector<bool>& needs = {true, true, true, true}) {
  CAPTURE(to_string(sizes.x));
  CAPTURE(name(dtype));
  const auto a = make_inputs(sizes, dtype, needs), b = make_inputs(sizes, dtype, needs);
  const Variable expected = one_by_one(a, sizes.options), actual = as_one(b, sizes.options);
  CHECK(actual.requires_grad() == expected.requires_grad());
  CHECK(same_bits(actual.value(), expected.value()));
  if (!expected.requires_grad()) return;
  const Tensor dy = random_tensor<double>(expected.shape(), 3).to(dtype);
  expected.backward(dy);
  actual.backward(dy);
  for (std::size_t i = 0; i < a.size(); ++i) {
    CAPTURE(i);
    if (needs[i]) CHECK(same_bits(b[i].grad(), a[i].grad()));
  }
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
          const auto in = make_inputs({shape, {1}, {}}, dtype, {true, true, true, false});
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

TEST_CASE("batch norm, ReLU and convolution as one have the bits of the three") {
  const Sizes winograd{{8, 8, 8, 64}, {64, 3, 3, 64}, {.padding = 1}};
  if (test_device() == Device::cpu) {
    const auto in = make_inputs(winograd, DType::float32, {false, false, false, false});
    const auto convolved = [&](bool fast) {
      return conv2d(in[0], in[3], {}, {.padding = 1, .winograd = fast}).value();
    };
    CHECK_FALSE(same_bits(convolved(true), convolved(false)));  // Winograd's algorithm takes it
  }
  for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    compare_ways(winograd, dtype);
    compare_ways({{3, 7, 5, 3}, {5, 3, 3, 3}, {.stride = 2, .padding = 1}}, dtype);
    compare_ways({{1, 2, 1, 1}, {1, 1, 1, 1}, {}}, dtype);
    compare_ways({{2, 4, 4, 6}, {4, 3, 3, 3}, {.padding = 1, .groups = 2}}, dtype);
  }
}

TEST_CASE("a convolution's statistics are those of its output") {
  for (const Sizes& sizes : {Sizes{{3, 7, 5, 3}, {5, 3, 3, 3}, {.stride = 2, .padding = 1}},
                             Sizes{{1, 1, 1, 2}, {4, 1, 1, 1}, {.groups = 2}}}) {
    for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
      CAPTURE(name(dtype));
      const auto in = make_inputs(sizes, dtype, {true, true, true, true});
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

TEST_CASE("batch norm, ReLU and convolution as one: any of the inputs may be a constant") {
  for (unsigned mask = 0; mask < 16; ++mask) {
    CAPTURE(mask);
    compare_ways({{2, 5, 4, 3}, {4, 3, 3, 3}, {.padding = 1}}, DType::float64,
                 {(mask & 1) != 0, (mask & 2) != 0, (mask & 4) != 0, (mask & 8) != 0});
  }
}

TEST_CASE("batch norm, ReLU and convolution as one keep no activation but the input") {
  const Sizes sizes{{2, 32, 32, 16}, {16, 3, 3, 16}, {.padding = 1}};
  const auto in = make_inputs(sizes, DType::float32, {true, true, true, true});
  const std::size_t start = memory_stats(test_device()).in_use;
  const Variable y = as_one(in, sizes.options);
  const std::size_t kept = memory_stats(test_device()).in_use - start;
  CHECK(kept >= y.value().bytes());
  CHECK(kept < y.value().bytes() + 4096);  // the output and the statistics
  CHECK(y.value().unique());
}

TEST_CASE("batch norm, ReLU and convolution as one: errors are those of the parts") {
  const auto in =
      make_inputs({{2, 5, 4, 3}, {4, 3, 3, 3}, {}}, DType::float32, {true, true, true, true});
  const Variable wide(ones({4, 3, 3, 5}, device_options()), true);
  const BatchStatistics statistics = batch_norm_statistics(in[0].value());
  CHECK_THROWS_WITH_AS(batch_norm_relu_conv2d(in[0], statistics, in[1], in[2], {.eps = eps}, wide),
                       doctest::Contains("[conv2d] weight's input channels must match"), Error);
  CHECK_THROWS_WITH_AS(batch_norm_relu_conv2d(in[0], statistics, in[1], in[2], {.eps = -1}, in[3]),
                       "[batch_norm] eps must not be negative; got -1", Error);
}
