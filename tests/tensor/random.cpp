#include <gradus/tensor/random.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>

#include <gradus/tensor/ops.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/near.h"

using namespace gradus;
using namespace gradus::test;

namespace {

/// Element i of a drawn tensor before scaling, by the definition in tensor/random.h.
double unit_value(std::uint64_t seed, std::uint64_t stream, std::uint64_t position,
                  std::int64_t i) {
  const PhiloxBlock b = philox(seed, position + static_cast<std::uint64_t>(i / 2), stream);
  return i % 2 == 0 ? uniform_double(b.word[0], b.word[1]) : uniform_double(b.word[2], b.word[3]);
}

TensorOptions float64() { return device_options(DType::float64); }

using Draw = std::function<Tensor(const Shape&, Generator&, TensorOptions)>;

const std::vector<std::pair<const char*, Draw>> draws{
    {"uniform",
     [](auto& shape, auto& g, auto options) { return uniform(shape, -2, 3, g, options); }},
    {"normal", [](auto& shape, auto& g, auto options) { return normal(shape, 1, 2, g, options); }},
    {"dropout",
     [](auto& shape, auto& g, auto options) { return dropout_mask(shape, 0.3, g, options); }},
};

}  // namespace

TEST_CASE("Philox4x32-10 gives Random123's known answers") {
  const auto check_words = [](std::uint64_t key, std::uint64_t low, std::uint64_t high,
                              const std::vector<std::uint32_t>& expected) {
    const PhiloxBlock block = philox(key, low, high);
    CHECK(std::vector<std::uint32_t>(block.word, block.word + 4) == expected);
  };
  check_words(0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  const std::uint64_t all_ones = ~std::uint64_t{0};
  check_words(all_ones, all_ones, all_ones, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  // Counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0; the first word is lowest.
  check_words(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e,
              {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("words become numbers in [0, 1)") {
  CHECK(uniform_float(0) == 0);
  CHECK(uniform_float(0xffffffff) == 1 - 0x1p-24f);
  CHECK(uniform_double(0, 0) == 0);
  CHECK(uniform_double(0xffffffff, 0xffffffff) == 1 - 0x1p-53);
  CHECK(uniform_double(0, 0x80000000) == 0.5);
}

TEST_CASE("tensors hold the documented stream") {
  for (std::int64_t n : {1, 2, 7, 10'001}) {
    CAPTURE(n);
    Generator generator(42, 7);
    generator.set_position(1000);
    const auto u = uniform({n}, -2, 3, generator, float64()).to_vector<double>();
    const std::uint64_t blocks = static_cast<std::uint64_t>(n + 1) / 2;
    CHECK(generator.position() == 1000 + blocks);
    const auto z = normal({n}, 1, 2, generator, float64()).to_vector<double>();
    CHECK(generator.position() == 1000 + 2 * blocks);
    const auto mask = dropout_mask({n}, 0.3, generator, float64()).to_vector<double>();
    CHECK(generator.position() == 1000 + 3 * blocks);
    double largest = 0;
    bool same_mask = true;
    for (std::int64_t i = 0; i < n; ++i) {
      largest = std::max(largest, std::abs(u[i] - (-2 + 5 * unit_value(42, 7, 1000, i))));
      const std::int64_t even = i / 2 * 2;
      const double radius = std::sqrt(-2 * std::log(1 - unit_value(42, 7, 1000 + blocks, even)));
      const double angle = 2 * std::numbers::pi * unit_value(42, 7, 1000 + blocks, even + 1);
      const double unit = radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle));
      largest = std::max(largest, std::abs(z[i] - (1 + 2 * unit)));
      const bool dropped = unit_value(42, 7, 1000 + 2 * blocks, i) < 0.3;
      same_mask = same_mask && mask[i] == (dropped ? 0 : 1 / 0.7);
    }
    CHECK(largest <= 1e-13);
    CHECK(same_mask);
  }
}

TEST_CASE("every draw: float is the rounded double, pieces are the whole") {
  for (const auto& [name, draw] : draws) {
    CAPTURE(name);
    Generator a(5), b(5), c(5);
    const Tensor whole = draw({30'001}, a, float64());
    CHECK(same_bits(draw({30'001}, b, device_options()), whole.to(DType::float32)));
    const Tensor first = draw({5000, 2}, c, float64());
    const Tensor second = draw({20'001}, c, float64());
    CHECK(same_bits(concat({first.reshape({-1}), second}), whole));
    CHECK(a.position() == c.position());
  }
}

TEST_CASE("draws do not depend on the number of threads" * cpu_only()) {
  for (const auto& [name, draw] : draws) {
    CAPTURE(name);
    const auto op = [&, &draw_ = draw] {
      Generator generator(9);
      return draw_({100'001}, generator, {});
    };
    CHECK(same_bits(with_threads(1, op), with_threads(2, op)));
  }
}

TEST_CASE("seed, stream and position all matter; a scalar and nothing can be drawn") {
  const auto draw = [](Generator&& generator) { return uniform({4}, 0, 1, generator, float64()); };
  Generator later(1);
  later.set_position(1);
  CHECK(same_bits(draw(Generator(1)), draw(Generator(1, 0))));
  CHECK_FALSE(same_bits(draw(Generator(1)), draw(Generator(2))));
  CHECK_FALSE(same_bits(draw(Generator(1)), draw(Generator(1, 1))));
  CHECK_FALSE(same_bits(draw(Generator(1)), draw(std::move(later))));
  Generator generator(1);
  CHECK(uniform({}, 0, 1, generator, device_options()).shape() == Shape{});
  CHECK(generator.position() == 1);
  CHECK(normal({0, 3}, 0, 1, generator, device_options()).shape() == Shape{0, 3});
  CHECK(generator.position() == 1);
}

TEST_CASE("moments" * cpu_only()) {
  constexpr std::int64_t n = 1'000'000;  // standard errors of about 0.001
  Generator generator(2024);
  const auto moments = [](const Tensor& x) {
    const double m = mean(x).item<double>(), v = variance(x).item<double>();
    const Tensor centred = affine(x, 1 / std::sqrt(v), -m / std::sqrt(v));
    return std::vector<double>{m, v, mean(gradus::pow(centred, 3)).item<double>(),
                               mean(gradus::pow(centred, 4)).item<double>()};
  };
  const auto u = moments(uniform({n}, 0, 1, generator, float64()));
  CHECK(u[0] == near(0.5, 0.003));
  CHECK(u[1] == near(1.0 / 12, 0.006));
  CHECK(std::abs(u[2]) < 0.01);
  CHECK(u[3] == near(1.8, 0.01));
  const auto z = moments(normal({n}, 3, 2, generator, float64()));
  CHECK(z[0] == near(3, 0.004));
  CHECK(z[1] == near(4, 0.008));
  CHECK(std::abs(z[2]) < 0.015);
  CHECK(z[3] == near(3, 0.015));
  // The two halves of a Box-Muller pair are not correlated.
  const Tensor pairs = normal({n / 2, 2}, 0, 1, generator, float64());
  const Tensor product = mul(slice(pairs, 1, 0, 1), slice(pairs, 1, 1, 2));
  CHECK(std::abs(mean(product).item<double>()) < 0.007);
  const Tensor mask = dropout_mask({n}, 0.2, generator, float64());
  CHECK(mean(mask).item<double>() == near(1, 0.003));
}

TEST_CASE("integers below a bound are all drawn, equally often" * cpu_only()) {
  Generator generator(3);
  std::vector<int> counts(7, 0);
  for (int i = 0; i < 70'000; ++i) ++counts.at(generator.below(7));
  for (int count : counts) CHECK(std::abs(count - 10'000) < 500);  // five standard deviations
  CHECK(generator.position() == 70'000);
  CHECK(generator.below(1) == 0);
}

TEST_CASE("a permutation holds every number once, is reproducible, and moves on" * cpu_only()) {
  Generator a(1), b(1);
  const Tensor first = permutation(1000, a);
  CHECK(first.dtype() == DType::int64);
  CHECK(same_bits(first, permutation(1000, b)));
  CHECK_FALSE(same_bits(first, permutation(1000, a)));
  auto sorted = first.to_vector<std::int64_t>();
  CHECK_FALSE(std::is_sorted(sorted.begin(), sorted.end()));
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::int64_t> expected(1000);
  std::iota(expected.begin(), expected.end(), std::int64_t{0});
  CHECK(sorted == expected);
  CHECK(permutation(0, a).shape() == Shape{0});
  CHECK(permutation(1, a).item<std::int64_t>() == 0);
}

TEST_CASE("all orders of three are equally likely" * cpu_only()) {
  Generator generator(8);
  std::vector<int> counts(27, 0);
  for (int i = 0; i < 12'000; ++i) {
    const auto p = permutation(3, generator).to_vector<std::int64_t>();
    ++counts[p[0] * 9 + p[1] * 3 + p[2]];
  }
  int orders = 0;
  for (int count : counts) {
    if (count == 0) continue;
    ++orders;
    CHECK(std::abs(count - 2000) < 210);  // five standard deviations
  }
  CHECK(orders == 6);
}

TEST_CASE("random ops check their arguments") {
  Generator g(0);
  CHECK_ERROR(uniform({2}, 1, 0, g), "[uniform] low must not exceed high; got 1 and 0");
  CHECK_ERROR(uniform({2}, 0, 1, g, {DType::int64}),
              "[uniform] elements must be float32, float64 or bfloat16; got int64");
  CHECK(g.position() == 0);  // nothing was drawn
  CHECK_ERROR(normal({2}, 0, -1, g),
              "[normal] the standard deviation must not be negative; got -1");
  CHECK_ERROR(permutation(-1, g), "[permutation] the count must not be negative; got -1");
  CHECK_ERROR(dropout_mask({2}, 1, g), "[dropout] the probability must be in [0, 1); got 1");
  CHECK_ERROR(dropout_mask({2}, -0.1, g), "[dropout] the probability must be in [0, 1); got -0.1");
  CHECK_ERROR(g.below(0), "[random] the bound must be positive");
  CHECK_ERROR(uniform({2}, -INFINITY, 0, g), "[uniform] the range must be finite");
  CHECK_ERROR(uniform({2}, NAN, 0, g), "[uniform] low must not exceed high");
  CHECK_ERROR(normal({2}, NAN, 1, g), "[normal] mean and standard deviation must be finite");
  CHECK_ERROR(normal({2}, 0, INFINITY, g), "[normal] mean and standard deviation must be finite");
}

TEST_CASE("a generator that is split off draws numbers of its own") {
  static_assert(!std::is_copy_constructible_v<Generator> && !std::is_copy_assignable_v<Generator>);
  const auto draw = [](Generator& generator) { return uniform({64}, 0, 1, generator, float64()); };
  Generator parent(4), same(4);
  Generator first = parent.split(), second = parent.split();
  const std::vector<Tensor> drawn = {draw(parent), draw(first), draw(second)};
  std::vector<double> all;
  for (const Tensor& x : drawn)
    for (const double value : x.to_vector<double>()) all.push_back(value);
  std::sort(all.begin(), all.end());
  CHECK(std::adjacent_find(all.begin(), all.end()) == all.end());
  // The same again from the same seed; the parent has moved on by a block for each.
  Generator again = same.split();
  CHECK(same_bits(draw(again), drawn[1]));
  same.set_position(2);
  CHECK(same_bits(draw(same), drawn[0]));
}
