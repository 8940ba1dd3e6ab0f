#include "tensor/cpu/gemm/gemm.h"

#include <doctest/doctest.h>
#include <omp.h>
#include <sys/mman.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gradus/tensor/ops.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"

using namespace gradus;

namespace {

template <class T>
std::vector<T> random_values(std::int64_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<double> distribution(-1, 1);
  std::vector<T> values(static_cast<std::size_t>(n));
  for (T& value : values) value = static_cast<T>(distribution(engine));
  return values;
}

struct Case {
  std::int64_t m, n, k;
  bool transpose_a = false, transpose_b = false;
  std::int64_t pad = 0;  ///< unused elements at the end of each stored row
  double alpha = 1, beta = 0;
};

/// Runs `product` on random matrices and compares every element with a sum in double; the padding
/// of c must stay as it was.
template <class T, class Product>
void compare(const Case& s, Product product) {
  const std::int64_t lda = (s.transpose_a ? s.m : s.k) + s.pad;
  const std::int64_t ldb = (s.transpose_b ? s.k : s.n) + s.pad;
  const std::int64_t ldc = s.n + s.pad;
  const auto a = random_values<T>((s.transpose_a ? s.k : s.m) * lda, 1);
  const auto b = random_values<T>((s.transpose_b ? s.n : s.k) * ldb, 2);
  const auto before = random_values<T>(s.m * ldc, 3);
  auto c = before;
  product(s.transpose_a, s.transpose_b, s.m, s.n, s.k, T(s.alpha), a.data(), lda, b.data(), ldb,
          T(s.beta), c.data(), ldc);

  std::vector<double> actual, expected;
  bool padding_kept = true;
  for (std::int64_t i = 0; i < s.m; ++i) {
    for (std::int64_t j = 0; j < s.n; ++j) {
      double sum = 0;
      for (std::int64_t l = 0; l < s.k; ++l) {
        sum += double(a[s.transpose_a ? l * lda + i : i * lda + l]) *
               double(b[s.transpose_b ? j * ldb + l : l * ldb + j]);
      }
      expected.push_back(s.alpha * sum + s.beta * double(before[i * ldc + j]));
      actual.push_back(double(c[i * ldc + j]));
    }
    for (std::int64_t j = s.n; j < ldc; ++j) padding_kept &= c[i * ldc + j] == before[i * ldc + j];
  }
  const double epsilon = std::numeric_limits<T>::epsilon();
  CHECK(test::relative_error(actual, expected) <= 12 * epsilon);
  CHECK(padding_kept);
}

}  // namespace

TEST_SUITE_BEGIN("gemm" * test::cpu_only());

TEST_CASE_TEMPLATE("gemm matches a plain sum", T, float, double) {
  const std::vector<Case> cases = {
      {1, 1, 1},
      {1, 7, 3},
      {5, 1, 9, true},
      {17, 33, 65, false, true, 3},
      {130, 257, 40, true, false, 1},
      {65, 129, 31, true, true, 5},
      {1025, 70, 19},
      {3, 1030, 11, false, true},
      {600, 1100, 7, false, false, 2, 0.5, 1},
      {300, 200, 100, true, true, 0, -2, 0.25},
      {4, 5, 0},
      {4, 5, 0, false, false, 2, 1, 0.5},
  };
  for (const Case& s : cases) {
    CAPTURE(s.m);
    CAPTURE(s.n);
    CAPTURE(s.k);
    compare<T>(s, [](auto... arguments) { cpu::gemm<T>(arguments...); });
  }
}

TEST_CASE_TEMPLATE("gemm with beta 0 does not read c", T, float, double) {
  for (const std::int64_t k : {0, 1, 64}) {
    CAPTURE(k);
    const std::int64_t m = 70, n = 150;
    const std::vector<T> a(static_cast<std::size_t>(m * k), T(1)), b(std::size_t(k * n), T(1));
    std::vector<T> c(static_cast<std::size_t>(m * n), std::numeric_limits<T>::quiet_NaN());
    cpu::gemm<T>(false, false, m, n, k, 1, a.data(), k, b.data(), n, 0, c.data(), n);
    bool exact = true;
    for (const T value : c) exact &= value == T(k);
    CHECK(exact);
  }
}

TEST_CASE("gemm with no rows or columns does nothing") {
  float c = 3;
  cpu::gemm<float>(false, false, 0, 1, 1, 1, nullptr, 1, nullptr, 1, 0, &c, 1);
  cpu::gemm<float>(false, false, 1, 0, 1, 1, nullptr, 1, nullptr, 1, 0, &c, 1);
  CHECK(c == 3);
}

TEST_CASE("a product of float64 has the same bits for any number of threads") {
  const std::int64_t m = 700, n = 90, k = 130;
  const Tensor a = from_vector(random_values<double>(m * k, 1), {m, k});
  const Tensor b = from_vector(random_values<double>(k * n, 2), {k, n});
  std::vector<std::vector<double>> results;
  const int threads = omp_get_max_threads();
  for (const int count : {1, 2, 3}) {
    omp_set_num_threads(count);
    results.push_back(matmul(a, b).to_vector<double>());
  }
  omp_set_num_threads(threads);
  CHECK(results[0] == results[1]);
  CHECK(results[0] == results[2]);
}

TEST_CASE("gemm takes row strides beyond 32 bits") {
  const std::int64_t stride = (std::int64_t{1} << 32) + 1;
  const std::size_t bytes = sizeof(float) * (static_cast<std::size_t>(stride) + 2);
  float* rows[3];  // of two rows each: address space, of which few pages are touched
  for (float*& x : rows) {
    void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    x = static_cast<float*>(memory);
  }
  const auto& [a, b, c] = rows;
  a[0] = 2, a[1] = 3, a[stride] = 5, a[stride + 1] = 7;
  b[0] = 11, b[stride] = 13;
  c[0] = 1, c[stride] = 4;
  cpu::gemm<float>(false, false, 2, 1, 2, 1, a, stride, b, stride, 1, c, stride);
  CHECK(c[0] == 2 * 11 + 3 * 13 + 1);
  CHECK(c[stride] == 5 * 11 + 7 * 13 + 4);
  for (float* x : rows) munmap(x, bytes);
}

TEST_SUITE_END();
