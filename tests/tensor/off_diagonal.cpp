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
    for (const Shape& shape :
         {Shape{0, 0}, Shape{1, 1}, Shape{2, 2}, Shape{3, 3}, Shape{8, 8}, Shape{37, 37},
          Shape{64, 64}, Shape{257, 257}, Shape{520, 520}, Shape{0, 3, 3}, Shape{2, 0, 0},
          Shape{3, 1, 1}, Shape{2, 37, 37}, Shape{2, 3, 8, 8}, Shape{20, 64, 64}}) {
      CAPTURE(shape);
      Generator generator(3);
      const Tensor x = on_device(normal(shape, 0.5, 2, generator).to(dtype));
      const auto values = x.to(DType::float64).to_vector<double>();
      std::vector<double> expected_dx(values.size());
      long double expected = 0;
      const auto n = static_cast<std::size_t>(shape[-1]);
      for (std::size_t k = 0; k < values.size(); ++k) {
        if (k % n == k / n % n) continue;
        expected += static_cast<long double>(values[k]) * values[k];
        expected_dx[k] = 3 * values[k];
      }
      const Tensor y = off_diagonal_square_sum(x);
      CHECK(y.dtype() == compute);
      CHECK(y.to(DType::float64).item<double>() ==
            near(static_cast<double>(expected), compute == DType::float32 ? 2.5e-7 : 5e-13));
      const Tensor dx = off_diagonal_square_sum_backward(full({}, 1.5, device_options(compute)), x);
      CHECK(same_bits(dx, from_vector(expected_dx, shape).to(dtype)));
    }
  }
}

TEST_CASE("the square sum off the diagonal says what is wrong with its arguments") {
  CHECK(error_of([] {
          off_diagonal_square_sum(zeros({2, 3}, device_options()));
        }) == "[off_diagonal_square_sum] x must be a square matrix, or several; got [2, 3]");
  CHECK(error_of([] {
          off_diagonal_square_sum_backward(zeros({1}, device_options()),
                                           zeros({2, 2}, device_options()));
        }) == "[off_diagonal_square_sum_backward] dy must have shape []; got [1]");
}
