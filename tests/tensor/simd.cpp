// The innermost kernels at each level of vector instructions that this machine has.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include <gradus/tensor/ops.h>
#include "tensor/cpu/conv/direct_conv.h"
#include "tensor/cpu/norm/plain_norm.h"
#include "tensor/cpu/simd/inner_kernels.h"
#include "tests/support/compare.h"
#include "tests/support/conv2d_reference.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/simd_levels.h"

using namespace gradus;
using namespace gradus::test;
namespace simd = gradus::cpu::simd;

namespace {

template <class T>
std::vector<T> random_values(std::int64_t n, std::uint64_t seed) {
  Generator generator(seed);
  return uniform({n}, -1, 1, generator).to(dtype_of<T>).template to_vector<T>();
}

/// `count` words of random elements.
template <class Word>
std::vector<Word> random_words(std::int64_t count, std::uint64_t seed) {
  const auto elements = random_values<simd::Element<Word>>(count * simd::per_word<Word>, seed);
  std::vector<Word> words(static_cast<std::size_t>(count));
  if (count > 0) std::memcpy(words.data(), elements.data(), words.size() * sizeof(Word));
  return words;
}

/// Element k of the row of words whose words k / per_word lie `step` apart.
template <class Word>
double element(const Word* row, std::int64_t step, std::int64_t k) {
  constexpr int per_word = simd::per_word<Word>;
  const auto* word = reinterpret_cast<const simd::Element<Word>*>(row + k / per_word * step);
  return static_cast<double>(word[k % per_word]);
}

/// Whether the level in use multiplies such words.
template <class Word>
bool has_product() {
  return simd::kernels().multiply<Word>() != nullptr;
}

template <class Word>
void check_product(std::int64_t rows, std::int64_t depth, bool transposed, bool add) {
  const simd::Kernels& kernels = simd::kernels();
  const std::int64_t panel = kernels.panel, b_stride = panel + 16, c_stride = panel + 3;
  const auto a = random_words<Word>((rows + 5) * (depth + 5), 1);
  const auto b = random_words<Word>(depth * b_stride, 2);
  const auto before = random_values<float>(rows * c_stride, 3);
  auto c = before;
  const std::int64_t row_stride = transposed ? 1 : depth + 2, step = transposed ? rows + 2 : 1;
  kernels.multiply<Word>()({a.data(), row_stride, step}, rows, b.data(), b_stride, {depth},
                           c.data(), c_stride, add);
  std::vector<double> expected;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t j = 0; j < c_stride; ++j) {
      const std::size_t at = static_cast<std::size_t>(r * c_stride + j);
      double sum = add || j >= panel ? static_cast<double>(before[at]) : 0;
      for (std::int64_t k = 0; k < depth * simd::per_word<Word> && j < panel; ++k) {
        sum += element(a.data() + r * row_stride, step, k) * element(b.data() + j, b_stride, k);
      }
      expected.push_back(sum);
    }
  }
  CHECK(relative_error(c, expected) <= 2e-6);
}

/// A product along three runs is the sum of those along each of them.
template <class Word>
void check_runs(std::int64_t rows, std::int64_t depth, bool transposed) {
  const simd::Kernels& kernels = simd::kernels();
  const std::int64_t panel = kernels.panel;
  const auto a = random_words<Word>(4 * (rows + 1) * (depth + 1), 1);
  const auto b = random_words<Word>(4 * depth * panel, 2);
  const std::int64_t left[] = {transposed ? 2 * depth * rows : 2 * depth, 0, 3},
                     right[] = {0, 3 * depth * panel, depth * panel};
  const std::int64_t row_stride = transposed ? 1 : 3 * depth, step = transposed ? rows : 1;
  const auto run = [&](const simd::Depth& d, std::int64_t a_at, std::int64_t b_at, bool add,
                       std::vector<float>& c) {
    kernels.multiply<Word>()({a.data() + a_at, row_stride, step}, rows, b.data() + b_at, panel, d,
                             c.data(), panel, add);
  };
  std::vector<float> together(static_cast<std::size_t>(rows * panel)), apart = together;
  run({depth, 3, left, right}, 0, 0, false, together);
  for (int i = 0; i < 3; ++i) run({depth}, left[i], right[i], i > 0, apart);
  CHECK(relative_error(together, apart) <= 2e-6);
}

struct ConvCase {
  Shape input, weight;
  Conv2dOptions options;
};

template <class T>
void check_direct(const ConvCase& c) {
  Generator generator(5);
  const auto draw = [&](const Shape& shape, DType dtype) {
    return uniform(shape, -1, 1, generator).to(dtype);
  };
  const Tensor x = draw(c.input, dtype_of<T>), w = draw(c.weight, DType::float32);
  const Tensor bias = draw({c.weight[0]}, DType::float32);
  // Weights enter products in the type of the words' elements.
  const bool by_pairs = std::is_same_v<T, BFloat16> && has_product<simd::BFloat16Pair>();
  const Tensor rounded = by_pairs ? w.to(DType::bfloat16).to(DType::float32) : w;
  const Tensor y = conv2d(x.to(DType::float32), w, {}, c.options);
  const Tensor dy = draw(y.shape(), dtype_of<T>);
  const Conv2dReference expected = conv2d_reference(x, rounded, bias, dy, c.options);
  const Conv2dGeometry g{.N = c.input[0],
                         .H = c.input[1],
                         .W = c.input[2],
                         .C = c.input[3],
                         .O = c.weight[0],
                         .out_height = y.size(1),
                         .out_width = y.size(2),
                         .kernel = {c.weight[1], c.weight[2]},
                         .stride = c.options.stride,
                         .padding = c.options.padding};
  REQUIRE(cpu::direct::supports(g));
  const auto poisoned = [](const Shape& shape, DType dtype) {
    return full(shape, std::nan(""), {dtype});
  };
  Tensor output = poisoned(y.shape(), dtype_of<T>), dinput = poisoned(c.input, dtype_of<T>),
         dweight = poisoned(c.weight, DType::float32);
  cpu::direct::conv2d<T>(x.data<T>(), w.data<float>(), bias.data<float>(), output.data<T>(), g);
  cpu::direct::conv2d_backward_input<T>(dy.data<T>(), w.data<float>(), dinput.data<T>(), g);
  cpu::direct::conv2d_backward_weight<T>(x.data<T>(), dy.data<T>(), dweight.data<float>(), g);
  const double stored = std::is_same_v<T, float> ? 5e-6 : 0x1p-8;  // a rounding of the result
  CHECK(relative_error(output, expected.output) <= stored);
  CHECK(relative_error(dinput, expected.dinput) <= stored);
  CHECK(relative_error(dweight, expected.dweight) <= 5e-6);
}

}  // namespace

TEST_CASE_TEMPLATE("products of panels match sums in double at each level", Word, float,
                   simd::BFloat16Pair) {
  at_each_simd_level([] {
    if (!has_product<Word>()) return;
    for (const std::int64_t rows : {1, 2, 5, 6, 7, 13, 14, 15, 16, 17, 27, 28, 32, 33, 65}) {
      for (const std::int64_t depth : {0, 1, 2, 9, 16, 17, 64, 70}) {
        CAPTURE(rows);
        CAPTURE(depth);
        for (const bool transposed : {false, true}) {
          check_product<Word>(rows, depth, transposed, false);
          check_product<Word>(rows, depth, transposed, true);
        }
      }
    }
  });
}

TEST_CASE_TEMPLATE("products along runs are sums of products at each level", Word, float,
                   simd::BFloat16Pair) {
  at_each_simd_level([] {
    if (!has_product<Word>()) return;
    for (const std::int64_t rows : {1, 14, 33}) {
      for (const std::int64_t depth : {1, 16, 19}) {
        CAPTURE(rows);
        CAPTURE(depth);
        for (const bool transposed : {false, true}) check_runs<Word>(rows, depth, transposed);
      }
    }
  });
}

TEST_CASE("the processor's products of pairs give what plain C++ stands in for, bit by bit") {
  const auto& levels = simd::available_levels();
  const simd::Level before = simd::level();
  for (const auto& [level, plain] :
       {std::pair{simd::Level::avx512_bf16, &simd::plain_pairs::kernels},
        {simd::Level::amx, &simd::plain_tiles::kernels}}) {
    if (std::ranges::find(levels, level) == levels.end()) {
      MESSAGE("this processor has no ", name(level), ": not compared");
      continue;
    }
    simd::set_level(level);
    const std::int64_t panel = simd::kernels().panel;
    REQUIRE(panel == plain->panel);
    for (const std::int64_t depth : {1, 5, 16, 37}) {
      for (const std::int64_t rows : {1, 16, 21, 47}) {
        const auto a = random_words<simd::BFloat16Pair>(rows * depth, 1);
        const auto b = random_words<simd::BFloat16Pair>(depth * panel, 2);
        const auto multiply = [&](const simd::Kernels& kernels) {
          std::vector<float> c(static_cast<std::size_t>(rows * panel), 0.5f);
          kernels.multiply_pairs({a.data(), depth, 1}, rows, b.data(), panel, {depth}, c.data(),
                                 panel, true);
          return c;
        };
        CHECK(multiply(simd::kernels()) == multiply(*plain));
      }
    }
  }
  simd::set_level(before);
}

TEST_CASE("words are transposed, and rows of sums stored, at each level") {
  const auto from = random_values<float>(70 * 80, 1), bias = random_values<float>(80, 2);
  at_each_simd_level([&] {
    for (const auto& [rows, columns] :
         {std::array<std::int64_t, 2>{1, 1}, {16, 16}, {37, 50}, {64, 33}}) {
      CAPTURE(rows);
      CAPTURE(columns);
      std::vector<float> to(70 * 80, -7);
      simd::kernels().transpose(from.data(), 80, rows, columns, to.data(), 70);
      // Rows [i] of `lanes` 3 at i / 3 * 400 + i % 3 * 90.
      std::vector<float> stored(80 * 400, -7);
      simd::kernels().store_rows<float>()(from.data(), 80, bias.data(),
                                          {stored.data(), rows, columns, 400, 3, 90});
      std::vector<float> transposed(70 * 80, -7), sums(80 * 400, -7);
      for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t j = 0; j < columns; ++j) {
          const float x = from[static_cast<std::size_t>(i * 80 + j)];
          transposed[static_cast<std::size_t>(j * 70 + i)] = x;
          sums[static_cast<std::size_t>(i / 3 * 400 + i % 3 * 90 + j)] =
              x + bias[static_cast<std::size_t>(j)];
        }
      }
      CHECK(to == transposed);
      CHECK(stored == sums);
    }
  });
}

TEST_CASE_TEMPLATE("direct convolution matches its definition at each level", T, float, BFloat16) {
  const std::vector<ConvCase> cases = {
      {{1, 1, 1, 1}, {1, 1, 1, 1}, {}},
      {{2, 5, 7, 8}, {11, 1, 1, 8}, {}},
      {{2, 5, 7, 9}, {11, 1, 1, 9}, {}},
      {{3, 7, 6, 5}, {4, 1, 1, 5}, {.stride = 2}},
      {{3, 7, 8, 5}, {4, 1, 1, 5}, {.stride = 2}},
      {{5, 33, 36, 6}, {7, 1, 1, 6}, {.stride = {1, 2}}},  // several parts of the pixels
      {{5, 33, 37, 6}, {7, 1, 1, 6}, {.stride = {1, 2}}},
      {{2, 3, 4, 5}, {6, 1, 1, 5}, {.padding = {1, 2}}},
      {{2, 9, 8, 3}, {33, 3, 3, 3}, {.padding = 1}},
      {{3, 9, 7, 3},
       {64, 3, 3, 3},
       {.padding = 1}},  // columns no multiple of a vector, outputs are
      {{2, 9, 10, 17}, {35, 3, 3, 17}, {.stride = 2, .padding = 1}},
      {{1, 8, 10, 4}, {3, 3, 3, 4}, {.stride = 3}},
      {{2, 11, 12, 3}, {2, 3, 3, 3}, {.stride = {5, 4}}},
      {{1, 4, 3, 2}, {3, 3, 3, 2}, {.padding = {4, 5}}},
      {{2, 7, 9, 3}, {4, 5, 3, 3}, {.stride = {2, 1}, .padding = {2, 0}}},
      {{2, 5, 4, 3}, {8, 7, 7, 3}, {.stride = 2, .padding = 3}},
      {{0, 5, 5, 3}, {4, 3, 3, 3}, {.padding = 1}},
      {{2, 16, 16, 130}, {64, 3, 3, 130}, {.stride = 2, .padding = 1}},
      {{2, 1, 3, 340}, {520, 1, 3, 340}, {.padding = {0, 1}}},  // several parts of the weights
      {{3, 6, 7, 33}, {5, 1, 1, 33}, {.stride = {2, 3}, .padding = {1, 2}}},
      {{1, 7, 19, 4}, {3, 3, 5, 4}, {.padding = {0, 1}}},
      {{35, 8, 8, 40}, {70, 3, 3, 40}, {.padding = 1}},  // images side by side, some left
      // Narrow images, some of whose windows lie in the padding, in places or altogether:
      {{70, 2, 2, 40}, {35, 3, 3, 40}, {.padding = 1}},
      {{37, 1, 1, 33}, {9, 3, 3, 33}, {.padding = 1}},
      {{40, 4, 4, 33}, {20, 3, 3, 33}, {.stride = 2, .padding = 1}},
      {{9, 7, 2, 40}, {8, 5, 3, 40}, {.padding = {2, 1}}},
      {{3, 2, 7, 40}, {8, 3, 3, 40}, {.padding = {3, 1}}},
      {{20, 80, 2, 40}, {8, 3, 3, 40}, {.padding = 1}},  // several parts of the rows
      {{33, 2, 2, 3}, {8, 3, 3, 3}, {.padding = 1}},
      {{3, 3, 1, 40}, {8, 1, 1, 40}, {.stride = 2, .padding = 1}},
      {{3, 24, 24, 64}, {32, 3, 3, 64}, {.stride = 2, .padding = 1}},
      {{4, 128, 128, 1}, {64, 1, 1, 1}, {}},             // enough outputs to write past the caches
      {{8, 64, 128, 64}, {8, 1, 1, 64}, {.stride = 2}},  // enough zeros in the input's gradient
  };
  for (const ConvCase& c : cases) {
    CAPTURE(to_string(c.input));
    CAPTURE(to_string(c.weight));
    at_each_simd_level([&] { check_direct<T>(c); });
  }
}

TEST_CASE("the terms of a direct convolution are the taps of its windows without the padding") {
  const auto terms = [](std::int64_t H, std::int64_t W, std::int64_t C, std::int64_t stride) {
    const std::int64_t out_height = (H - 1) / stride + 1, out_width = (W - 1) / stride + 1;
    return cpu::direct::terms({.N = 5,
                               .H = H,
                               .W = W,
                               .C = C,
                               .O = 8,
                               .out_height = out_height,
                               .out_width = out_width,
                               .kernel = 3,
                               .stride = stride,
                               .padding = 1});
  };
  CHECK(terms(2, 2, 40, 1) == 5 * 4 * 4);
  CHECK(terms(1, 1, 40, 1) == 5);
  CHECK(terms(4, 4, 40, 2) == 5 * 5 * 5);
  CHECK(terms(4, 4, 40, 1) == 5 * 10 * 12);  // wider: the columns' taps in the padding are kept
  CHECK(terms(2, 2, 3, 1) == 5 * 36);        // few channels: whole windows
}

TEST_CASE("direct convolution gives the same bits for any number of threads" * cpu_only()) {
  Generator generator(3);
  struct ThreadCase {
    Shape input, weight;
    std::int64_t stride;
  };
  for (const ThreadCase& c : {ThreadCase{{6, 17, 15, 24}, {40, 3, 3, 24}, 2},
                              ThreadCase{{35, 8, 8, 64}, {64, 3, 3, 64}, 1},
                              ThreadCase{{70, 2, 2, 64}, {64, 3, 3, 64}, 1},
                              ThreadCase{{9, 16, 16, 3}, {32, 3, 3, 3}, 1}}) {
    CAPTURE(to_string(c.input));
    const Tensor x = uniform(c.input, -1, 1, generator), w = uniform(c.weight, -1, 1, generator);
    const Conv2dOptions options{.stride = c.stride, .padding = 1, .winograd = false};
    const Tensor dy = uniform(conv2d(x, w, {}, options).shape(), -1, 1, generator);
    at_each_simd_level([&] {
      for (const DType dtype : {DType::float32, DType::bfloat16}) {
        const auto run = [&] {
          return std::array{conv2d(x.to(dtype), w, {}, options),
                            conv2d_backward_input(dy.to(dtype), w, x.shape(), options),
                            conv2d_backward_weight(dy.to(dtype), x.to(dtype), w.shape(), options)};
        };
        const auto one = with_threads(1, run);
        for (const int threads : {2, 3, 20}) {
          const auto several = with_threads(threads, run);
          for (std::size_t i = 0; i < one.size(); ++i) CHECK(same_bits(one[i], several[i]));
        }
      }
    });
  }
}

TEST_CASE("batch norm's sums over two gradients have the bits of those over their sum") {
  constexpr std::int64_t rows = 37,
                         C = 77;  // an odd row, whole groups of vectors and a part of one
  const auto dy = random_values<float>(rows * C, 1), dy2 = random_values<float>(rows * C, 2);
  const auto x = random_values<float>(rows * C, 3), y = random_values<float>(rows * C, 4);
  const auto mean = random_values<float>(C, 5), scale = random_values<float>(C, 6);
  std::vector<float> sum = dy;
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += dy2[i];
  at_each_simd_level([&] {
    const auto sums = [&](const std::vector<float>& first, const float* second) {
      std::vector<float> masked(rows * C), results(2 * C);
      simd::kernels().norm<float>().gradient_sums(
          first.data(), second, x.data(), y.data(), true, {mean.data(), scale.data(), mean.data()},
          masked.data(), rows, C, results.data(), results.data() + C);
      return results;
    };
    const auto together = sums(sum, nullptr);
    CHECK(sums(dy, dy2.data()) == together);
  });
}

TEST_CASE("levels: the best one is used unless another is set") {
  const auto& levels = simd::available_levels();
  REQUIRE(!levels.empty());
  CHECK(levels.front() == simd::Level::generic);
  const simd::Level first = simd::level();
  // Products of pairs of bfloat16 are slower than float's on some processors.
  const bool may_differ = levels.back() == simd::Level::avx512_bf16 && first == simd::Level::avx512;
  if (std::getenv("GRADUS_SIMD") == nullptr && !may_differ) CHECK(first == levels.back());
  for (const simd::Level level : levels) {
    simd::set_level(level);
    CHECK(simd::kernels().width == (level == simd::Level::generic ? 4
                                    : level == simd::Level::avx2  ? 8
                                                                  : 16));
  }
  simd::set_level(first);
  if (levels.back() != simd::Level::amx) {
    CHECK(error_of([] { simd::set_level(simd::Level::amx); }) ==
          "[simd] this processor or build has no level amx");
  }
}
