#include <doctest/doctest.h>

#include <limits>

#include <gradus/tensor/ops.h>
#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"
#include "tests/support/simd_levels.h"

using namespace gradus;
using namespace gradus::test;

namespace {

/// op(a) op(b) by three loops in float64, for one matrix or a batch.
Tensor naive_matmul(const Tensor& a, const Tensor& b, MatmulOptions options) {
  const bool batched = a.rank() == 3;
  const Tensor x = options.transpose_a ? transpose(a) : a;
  const Tensor y = options.transpose_b ? transpose(b) : b;
  const auto left = doubles_of(x), right = doubles_of(y);
  const std::int64_t batch = batched ? a.size(0) : 1;
  const std::int64_t m = x.size(-2), k = x.size(-1), n = y.size(-1);
  std::vector<double> values(static_cast<std::size_t>(batch * m * n), 0.0);
  for (std::int64_t s = 0; s < batch; ++s)
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j)
        for (std::int64_t p = 0; p < k; ++p)
          values[(s * m + i) * n + j] += left[(s * m + i) * k + p] * right[(s * k + p) * n + j];
  return from_vector(values, batched ? Shape{batch, m, n} : Shape{m, n});
}

Shape matrices(std::int64_t batch, std::int64_t rows, std::int64_t columns) {
  return batch < 0 ? Shape{rows, columns} : Shape{batch, rows, columns};
}

struct Size {
  std::int64_t m, n, k;
};
constexpr Size sizes[] = {{1, 1, 1},      {2, 3, 4}, {17, 1, 5}, {1, 33, 7}, {65, 31, 129},
                          {150, 170, 90}, {3, 2, 0}, {0, 2, 3},  {2, 0, 3}};

}  // namespace

TEST_CASE_TEMPLATE("matrix products, transposed and batched", T, float, double) {
  for (const auto& [m, n, k] : sizes)
    for (std::int64_t batch : {-1, 0, 1, 3})  // -1: matrices, not a batch
      for (bool ta : {false, true})
        for (bool tb : {false, true}) {
          CAPTURE(m);
          CAPTURE(n);
          CAPTURE(k);
          CAPTURE(batch);
          CAPTURE(ta);
          CAPTURE(tb);
          const Tensor a = random_tensor<T>(ta ? matrices(batch, k, m) : matrices(batch, m, k), 1);
          const Tensor b = random_tensor<T>(tb ? matrices(batch, n, k) : matrices(batch, k, n), 2);
          const MatmulOptions options{.transpose_a = ta, .transpose_b = tb};
          const Tensor c = matmul(a, b, options);
          CHECK(c.dtype() == a.dtype());
          CHECK(relative_error(c, naive_matmul(a, b, options)) <=
                (sizeof(T) == 4 ? 2.5e-6 : 4e-15));
        }
}

TEST_CASE("NaN and infinity pass through a product") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor a = device_vector<float>({1, nan, 1, 1}, {2, 2});
  const auto c = matmul(a, zeros({2, 2}, device_options())).to_vector<float>();
  CHECK(std::isnan(c[0]));
  CHECK(c[2] == 0);
}

TEST_CASE_TEMPLATE("matrix products at each level of vector instructions" * cpu_only(), T, float,
                   BFloat16) {
  const double rounding = dtype_of<T> == DType::bfloat16 ? 0x1p-8 : 2.5e-6;
  for (const auto& [m, n, k] : sizes)
    for (const bool ta : {false, true})
      for (const bool tb : {false, true})
        for (const double scale : {1.0, 0.375}) {
          CAPTURE(m);
          CAPTURE(n);
          CAPTURE(k);
          CAPTURE(ta);
          CAPTURE(tb);
          const Tensor a = random_tensor<T>(ta ? Shape{2, k, m} : Shape{2, m, k}, 1);
          const Tensor b = random_tensor<T>(tb ? Shape{2, n, k} : Shape{2, k, n}, 2);
          MatmulOptions options{.transpose_a = ta, .transpose_b = tb, .scale = scale};
          const Tensor expected = naive_matmul(a, b, options) * scale;
          at_each_simd_level([&] {
            options.output_dtype = {};
            const Tensor rounded = matmul(a, b, options);
            CHECK(rounded.dtype() == dtype_of<T>);
            CHECK(relative_error(rounded, expected) <= rounding);
            options.output_dtype = DType::float32;
            CHECK(relative_error(matmul(a, b, options), expected) <= 2.5e-6);
          });
        }
}

TEST_CASE_TEMPLATE("a symmetric product, of which half is computed, is the whole one" * cpu_only(),
                   T, float, BFloat16) {
  for (const std::int64_t n : {0, 1, 5, 33, 64, 100, 257}) {
    CAPTURE(n);
    const Tensor x = random_tensor<T>({2, n, 19}, 1);
    const Tensor y = random_tensor<T>({2, 19, n}, 2);
    for (const auto& [factor, transpose_a] : {std::pair(x, false), std::pair(y, true)}) {
      const MatmulOptions options{.transpose_a = transpose_a, .transpose_b = !transpose_a};
      MatmulOptions symmetric = options;
      symmetric.symmetric = true;
      at_each_simd_level([&, &factor = factor] {
        const Tensor product = matmul(factor, factor, symmetric);
        CHECK(relative_error(product, matmul(factor, factor, options)) < 1e-6);
        CHECK(same_bits(product, transpose(product)));
        CHECK(
            same_bits(product, with_threads(1, [&] { return matmul(factor, factor, symmetric); })));
      });
    }
  }
}

TEST_CASE_TEMPLATE("products do not depend on the number of threads" * cpu_only(), T, float,
                   BFloat16) {
  const Tensor a = random_tensor<T>({2, 190, 210}, 1), b = random_tensor<T>({2, 210, 150}, 2);
  const auto op = [&] { return matmul(a, b); };
  CHECK(same_bits(with_threads(1, op), with_threads(2, op)));
}

TEST_CASE_TEMPLATE("equal rows have equal products, wherever they stand" * cpu_only(), T, float,
                   BFloat16) {
  const Tensor row = random_tensor<T>({1, 131}, 1), b = random_tensor<T>({131, 77}, 2);
  const Tensor a = broadcast_to(row, {61, 131});
  CHECK(same_bits(matmul(a, b), broadcast_to(matmul(row, b), {61, 77})));
}

TEST_CASE("matmul checks its arguments") {
  const Tensor a = zeros({2, 3}), b = zeros({3, 4});
  CHECK_ERROR(matmul(a, a), "[matmul] inner sizes must match; got [2, 3] and [2, 3]");
  CHECK_ERROR(matmul(a, b, {.transpose_a = true}),
              "[matmul] inner sizes must match; got [2, 3] transposed and [3, 4]");
  CHECK_ERROR(matmul(a, b, {.transpose_b = true}), "got [2, 3] and [3, 4] transposed");
  CHECK_ERROR(
      matmul(a, zeros({3})),
      "[matmul] a and b must both be matrices or both be batches of them; got [2, 3] and [3]");
  CHECK_ERROR(matmul(zeros({2, 2, 3}), b), "both be batches of them; got [2, 2, 3] and [3, 4]");
  CHECK_ERROR(matmul(zeros({2, 2, 3}), zeros({3, 3, 4})),
              "[matmul] a and b must have equally many matrices; got [2, 2, 3] and [3, 3, 4]");
  CHECK_ERROR(matmul(a, b, {.symmetric = true}),
              "[matmul] a symmetric product must be square; got 2x4");
  CHECK_ERROR(matmul(a, Tensor()), "[matmul] b is undefined");
  CHECK_ERROR(matmul(a, zeros({3, 4}, {DType::float64})), "[matmul] a and b must have one dtype");
  CHECK_ERROR(matmul(zeros({1, 1}, {DType::int64}), zeros({1, 1}, {DType::int64})),
              "[matmul] elements must be float32, float64 or bfloat16; got int64");
}
