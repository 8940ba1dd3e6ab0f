#include <doctest/doctest.h>

#include <gradus/tensor/ops.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/near.h"

using namespace gradus;
using namespace gradus::test;

TEST_CASE("the square sum off the diagonal and its gradient match their formulas") {
  for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    CAPTURE(name(dtype));
    const DType compute = compute_dtype(dtype);
    for (const std::int64_t n : {0, 1, 2, 3, 8, 37, 64, 257, 520}) {
      CAPTURE(n);
      Generator generator(3);
      const Tensor x = on_device(normal({n, n}, 0.5, 2, generator).to(dtype));
      const auto values = x.to(DType::float64).to_vector<double>();
      std::vector<double> expected_dx(values.size());
      long double expected = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j < n; ++j) {
          const auto k = static_cast<std::size_t>(i * n + j);
          if (i == j) continue;
          expected += static_cast<long double>(values[k]) * values[k];
          expected_dx[k] = 3 * values[k];
        }
      }
      const Tensor y = off_diagonal_square_sum(x);
      CHECK(y.dtype() == compute);
      CHECK(y.to(DType::float64).item<double>() ==
            near(static_cast<double>(expected), compute == DType::float32 ? 2.5e-7 : 5e-13));
      const Tensor dx = off_diagonal_square_sum_backward(full({}, 1.5, device_options(compute)), x);
      CHECK(same_bits(dx, from_vector(expected_dx, {n, n}).to(dtype)));
    }
  }
}

TEST_CASE("the square sum off the diagonal says what is wrong with its arguments") {
  CHECK(error_of([] {
          off_diagonal_square_sum(zeros({2, 3}, device_options()));
        }) == "[off_diagonal_square_sum] x must be a square matrix; got [2, 3]");
  CHECK(error_of([] {
          off_diagonal_square_sum_backward(zeros({1}, device_options()),
                                           zeros({2, 2}, device_options()));
        }) == "[off_diagonal_square_sum_backward] dy must have shape []; got [1]");
}
