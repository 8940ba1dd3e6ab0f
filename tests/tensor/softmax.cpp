#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include <gradus/tensor/ops.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/near.h"

using namespace gradus;
using namespace gradus::test;

namespace {

struct Reference {
  std::vector<double> y, dx, log_y, log_dx;
};

/// Both functions as their formulas read, over the last axis.
Reference reference(const Tensor& x_in, const Tensor& dy_in) {
  const std::int64_t columns = x_in.size(-1);
  const auto x = doubles_of(x_in), dy = doubles_of(dy_in);
  Reference r{x, x, x, x};
  for (std::size_t row = 0; row < x.size(); row += std::size_t(columns)) {
    const std::size_t end = row + std::size_t(columns);
    long double sum = 0, dot = 0, total = 0;
    for (std::size_t i = row; i < end; ++i) sum += std::exp(x[i]);
    for (std::size_t i = row; i < end; ++i) {
      r.y[i] = double(std::exp(x[i]) / sum);
      r.log_y[i] = double(x[i] - std::log(sum));
      dot += dy[i] * r.y[i];
      total += dy[i];
    }
    for (std::size_t i = row; i < end; ++i) {
      r.dx[i] = double(r.y[i] * (dy[i] - dot));
      r.log_dx[i] = double(dy[i] - r.y[i] * total);
    }
  }
  return r;
}

}  // namespace

TEST_CASE("softmax, log_softmax and their gradients match their formulas") {
  for (const DType dtype : {DType::float32, DType::float64}) {
    CAPTURE(name(dtype));
    const double tolerance = dtype == DType::float32 ? 4e-6 : 2e-14;
    for (const Shape& shape : {Shape{10}, Shape{3, 2}, Shape{5, 7}, Shape{2, 3, 11}, Shape{700, 10},
                               Shape{2, 5000}, Shape{0, 4}, Shape{4, 0}}) {
      CAPTURE(to_string(shape));
      Generator generator(5);
      const Tensor x = normal(shape, 0, 3, generator, device_options(dtype));
      const Tensor dy = normal(shape, 0, 1, generator, device_options(dtype));
      const Reference expected = reference(x, dy);
      const auto compare = [&](const Tensor& actual, const std::vector<double>& values) {
        const Tensor wanted = from_vector(values, shape);
        CHECK(relative_error(actual, wanted) <= tolerance);
      };
      const Tensor y = softmax(x), log_y = log_softmax(x);
      compare(y, expected.y);
      compare(softmax_backward(dy, y), expected.dx);
      compare(log_y, expected.log_y);
      compare(log_softmax_backward(dy, log_y), expected.log_dx);
    }
  }
}

TEST_CASE("the softmax of a single column is 1, and moves with nothing") {
  const Tensor x = device_vector<float>({-3, 0.5F, 700}, {3, 1}), dy = x * 2;
  const Tensor zero = zeros({3, 1}), one = ones({3, 1});
  CHECK(same_bits(softmax(x), one));
  CHECK(same_bits(log_softmax(x), zero));
  CHECK(same_bits(softmax_backward(dy, on_device(one)), zero));
  CHECK(same_bits(log_softmax_backward(dy, on_device(zero)), zero));
}

TEST_CASE("softmax of large values neither overflows nor underflows to NaN") {
  const Tensor x = device_vector<float>({1000, 1000, -1000}, {1, 3});
  CHECK(softmax(x).to_vector<float>() == std::vector<float>{0.5F, 0.5F, 0});
  const auto log_y = log_softmax(x).to_vector<float>();
  CHECK(log_y[0] == near(-std::log(2.0)));
  CHECK(log_y[2] == near(-2000 - std::log(2.0)));
}

TEST_CASE("softmax: minus infinity has no share, NaN spoils its row alone") {
  const float nan = std::nanf("");
  const float infinity = std::numeric_limits<float>::infinity();
  const Tensor x = device_vector<float>({0, -infinity, 1, nan, nan, 1}, {3, 2});
  const auto y = softmax(x).to_vector<float>();
  const auto log_y = log_softmax(x).to_vector<float>();
  CHECK(y[0] == 1);
  CHECK(y[1] == 0);
  CHECK(log_y[1] == -infinity);
  for (std::size_t i = 2; i < 6; ++i) {
    CHECK(std::isnan(y[i]));
    CHECK(std::isnan(log_y[i]));
  }
}

TEST_CASE("the cross-entropy of many classes keeps their small shares") {
  constexpr std::int64_t classes = 1'000'000;
  std::vector<float> logits(classes, -5);
  logits[0] = 0;
  const Tensor x = device_vector<float>(logits, {1, classes});
  const Tensor label = device_vector<std::int64_t>({7}, {1});
  constexpr double others = classes - 1;
  const double log_sum = std::log(1 + others * std::exp(-5.0));
  CHECK(softmax_cross_entropy(x, label).item<float>() == near(log_sum + 5, 1e-4));
  const double evenly = log_sum + 5 * others / (others + 1);
  CHECK(softmax_cross_entropy(x, label, 1).item<float>() == near(evenly, 1e-4));
}

TEST_CASE("softmax gives the same bits for any number of threads" * cpu_only()) {
  Generator generator(5);
  const Tensor x = normal({3000, 37}, 0, 3, generator);
  const auto run = [&] {
    const Tensor y = softmax(x), log_y = log_softmax(x);
    return std::vector<Tensor>{y, log_y, softmax_backward(x, y), log_softmax_backward(x, log_y)};
  };
  const auto one = with_threads(1, run), three = with_threads(3, run);
  for (std::size_t i = 0; i < one.size(); ++i) CHECK(same_bits(one[i], three[i]));
}

TEST_CASE("softmax says what is wrong with its arguments") {
  CHECK(error_of([] { softmax(zeros({})); }) == "[softmax] needs at least one axis; got a scalar");
  CHECK(error_of([] { log_softmax({}); }) ==
        "[log_softmax] x is undefined (it was never given a value)");
  CHECK(error_of([] {
          softmax(zeros({2, 2}, {DType::int64}));
        }) == "[softmax] x must be float32, float64 or bfloat16; got int64");
  CHECK(error_of([] {
          softmax_backward(zeros({2, 3}), zeros({3, 2}));
        }) == "[softmax_backward] dy must have shape [3, 2]; got [2, 3]");
}
