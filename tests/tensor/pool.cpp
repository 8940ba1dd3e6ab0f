#include <doctest/doctest.h>

#include <gradus/tensor/ops.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/near.h"

using namespace gradus;
using namespace gradus::test;

namespace {

struct Case {
  const char* name;
  Shape input;
  Pool2dOptions options;
};

const std::vector<Case> cases = {
    {"one pixel", {1, 1, 1, 1}, {.kernel = 1, .stride = 1}},
    {"2x2", {2, 6, 8, 5}, {}},
    {"2x2, unused border", {2, 5, 7, 3}, {}},
    {"3x2, by default with its own stride", {2, 7, 6, 3}, {.kernel = {3, 2}}},
    {"3x3, stride 2, padding", {2, 7, 8, 17}, {.kernel = 3, .stride = 2, .padding = 1}},
    {"3x3, stride 1", {1, 5, 4, 2}, {.kernel = 3, .stride = 1, .padding = 1}},
    {"3x3, padding not counted",
     {1, 5, 4, 2},
     {.kernel = 3, .stride = 1, .padding = 1, .count_include_pad = false}},
    {"stride larger than kernel", {2, 9, 11, 3}, {.kernel = 2, .stride = {3, 4}}},
    {"5x2", {2, 9, 6, 3}, {.kernel = {5, 2}, .stride = {2, 1}, .padding = {2, 1}}},
    {"whole image", {3, 4, 6, 7}, {.kernel = {4, 6}, .stride = 1}},
    {"empty batch", {0, 4, 4, 3}, {}},
    {"several blocks", {9, 17, 16, 64}, {.kernel = 3, .stride = 2, .padding = 1}},
};

struct Reference {
  std::vector<double> maximum, average, dmaximum, daverage;
  std::vector<std::int64_t> index;
};

/// Both poolings as their definitions read, for doutput `dy`.
Reference reference(const Tensor& input, const Tensor& doutput, const Pool2dOptions& options) {
  const std::int64_t N = input.size(0), H = input.size(1), W = input.size(2), C = input.size(3);
  const std::int64_t P = doutput.size(1), Q = doutput.size(2);
  const Size2 stride = options.stride == Size2(0) ? options.kernel : options.stride;
  const auto x = doubles_of(input), dy = doubles_of(doutput);
  Reference r{std::vector<double>(dy.size()), std::vector<double>(dy.size()),
              std::vector<double>(x.size()), std::vector<double>(x.size()),
              std::vector<std::int64_t>(dy.size())};
  for (std::int64_t n = 0; n < N; ++n)
    for (std::int64_t p = 0; p < P; ++p)
      for (std::int64_t q = 0; q < Q; ++q)
        for (std::int64_t c = 0; c < C; ++c) {
          std::vector<std::int64_t> inside;  // h * W + w
          for (std::int64_t i = 0; i < options.kernel.height; ++i)
            for (std::int64_t j = 0; j < options.kernel.width; ++j) {
              const std::int64_t h = p * stride.height - options.padding.height + i;
              const std::int64_t w = q * stride.width - options.padding.width + j;
              if (h >= 0 && h < H && w >= 0 && w < W) inside.push_back(h * W + w);
            }
          const auto at = [&](std::int64_t pixel) { return (n * H * W + pixel) * C + c; };
          const std::int64_t out = ((n * P + p) * Q + q) * C + c;
          const double divisor = options.count_include_pad
                                     ? double(options.kernel.height * options.kernel.width)
                                     : double(inside.size());
          std::int64_t best = inside.front();
          for (const std::int64_t pixel : inside) {
            if (x[at(pixel)] > x[at(best)]) best = pixel;
            r.average[out] += x[at(pixel)] / divisor;
            r.daverage[at(pixel)] += dy[out] / divisor;
          }
          r.maximum[out] = x[at(best)];
          r.index[out] = best;
          r.dmaximum[at(best)] += dy[out];
        }
  return r;
}

}  // namespace

TEST_CASE("max_pool2d, avg_pool2d and their gradients match their definitions") {
  for (const DType dtype : {DType::float32, DType::float64}) {
    CAPTURE(name(dtype));
    const double tolerance = dtype == DType::float32 ? 6e-7 : 2e-15;
    for (const Case& c : cases) {
      CAPTURE(c.name);
      Generator generator(3);
      const Tensor x = uniform(c.input, -1, 1, generator, device_options(dtype));
      const auto [values, indices] = max_pool2d(x, c.options);
      const Tensor dy = uniform(values.shape(), -1, 1, generator, device_options(dtype));
      const Reference expected = reference(x, dy, c.options);
      CHECK(max_difference(values, from_vector(expected.maximum, dy.shape())) == 0);
      CHECK(indices.to_vector<std::int64_t>() == expected.index);
      CHECK(relative_error(max_pool2d_backward(dy, indices, c.input, c.options),
                           from_vector(expected.dmaximum, c.input)) <= tolerance);
      CHECK(relative_error(avg_pool2d(x, c.options), from_vector(expected.average, dy.shape())) <=
            tolerance);
      CHECK(relative_error(avg_pool2d_backward(dy, c.input, c.options),
                           from_vector(expected.daverage, c.input)) <= tolerance);
    }
  }
}

TEST_CASE("max_pool2d: padding never wins, the first of equal elements does, NaN propagates") {
  const float nan = std::nanf("");
  const float infinity = std::numeric_limits<float>::infinity();
  const Pool2dOptions options{.kernel = 3, .stride = 2, .padding = 1};

  const auto negative = max_pool2d(full({1, 3, 3, 1}, -infinity, device_options()), options);
  CHECK(negative.values.to_vector<float>() == std::vector<float>(4, -infinity));
  CHECK(negative.indices.to_vector<std::int64_t>() == std::vector<std::int64_t>{0, 1, 3, 4});

  const Tensor x = device_vector<float>({1, nan, infinity, nan}, {1, 2, 2, 1});
  const auto result = max_pool2d(x, {});
  CHECK(std::isnan(result.values.item<float>()));
  CHECK(result.indices.item<std::int64_t>() == 1);
  const Tensor dy = ones({1, 1, 1, 1}, device_options());
  CHECK(max_pool2d_backward(dy, result.indices, x.shape(), {}).to_vector<float>() ==
        std::vector<float>{0, 1, 0, 0});
}

TEST_CASE("the average of a large window keeps its small terms") {
  const Tensor x = full({1, 1024, 1024, 1}, 0.21, device_options());
  CHECK(avg_pool2d(x, {.kernel = 1024}).item<float>() == near(0.21, 1e-4));
}

TEST_CASE("global_avg_pool2d is the mean over height and width") {
  const Tensor x = arange(0, 24, device_options()).reshape({2, 2, 3, 2});
  CHECK(global_avg_pool2d(x).shape() == Shape{2, 2});
  CHECK(global_avg_pool2d(x).to_vector<float>() == std::vector<float>{5, 6, 17, 18});
  CHECK(error_of([] {
          global_avg_pool2d(zeros({2, 3}));
        }) == "[global_avg_pool2d] input must be [N, H, W, C]; got [2, 3]");
}

TEST_CASE("pooling gives the same bits for any number of threads" * cpu_only()) {
  const Case& c = cases.back();
  Generator generator(3);
  const Tensor x = uniform(c.input, -1, 1, generator);
  const auto run = [&] {
    const auto [values, indices] = max_pool2d(x, c.options);
    return std::vector<Tensor>{
        values, indices, max_pool2d_backward(values, indices, c.input, c.options),
        avg_pool2d(x, c.options), avg_pool2d_backward(values, c.input, c.options)};
  };
  const auto one = with_threads(1, run), three = with_threads(3, run);
  for (std::size_t i = 0; i < one.size(); ++i) CHECK(same_bits(one[i], three[i]));
}

TEST_CASE("pooling says what is wrong with its arguments") {
  const Tensor x = zeros({2, 4, 4, 3});
  const auto message = [](const Tensor& input, const Pool2dOptions& options) {
    return error_of([&] { max_pool2d(input, options); });
  };
  CHECK(message(zeros({4, 4}), {}) == "[max_pool2d] input must be [N, H, W, C]; got [4, 4]");
  CHECK(message(x, {.kernel = 0}) == "[max_pool2d] kernel must be at least 1; got 0 x 0");
  CHECK(message(x, {.stride = {2, 0}}) == "[max_pool2d] stride must be at least 1; got 2 x 0");
  CHECK(message(x, {.padding = -1}) == "[max_pool2d] padding must not be negative; got -1 x -1");
  CHECK(message(x, {.kernel = 3, .padding = 2}) ==
        "[max_pool2d] padding must be at most half the kernel; got padding 2 x 2, kernel 3 x 3");
  CHECK(message(x, {.kernel = 5}) ==
        "[max_pool2d] the kernel is larger than the padded image; got input [2, 4, 4, 3], kernel "
        "5 x 5, padding 0 x 0");
  CHECK(message(x.to(DType::int64), {}) ==
        "[max_pool2d] input must be float32, float64 or bfloat16; got int64");
  CHECK(error_of([&] {
          avg_pool2d_backward(x, {2, 4, 4, 3}, {});
        }) == "[avg_pool2d_backward] doutput must have shape [2, 2, 2, 3]; got [2, 4, 4, 3]");
  CHECK(error_of([&] {
          max_pool2d_backward(zeros({2, 2, 2, 3}), zeros({2, 2, 2, 3}), {2, 4, 4, 3}, {});
        }) == "[max_pool2d_backward] indices must be int64 on cpu; got float32 on cpu");
}
