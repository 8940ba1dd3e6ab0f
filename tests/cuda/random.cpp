// Random tensors: the GPU draws the CPU's numbers.
#include <gradus/tensor/random.h>

#include <doctest/doctest.h>

#include <gradus/tensor/ops.h>
#include "tests/support/compare.h"

namespace gradus::test {
namespace {

TEST_CASE("the GPU draws the CPU's numbers") {
  for (const DType dtype : {DType::float32, DType::float64}) {
    CAPTURE(name(dtype));
    for (const std::int64_t n : {0, 1, 2, 7, 10'001}) {
      CAPTURE(n);
      Generator a(3, 9), b(3, 9);
      a.set_position(77);
      b.set_position(77);
      const TensorOptions cpu{dtype}, gpu{dtype, Device::cuda};
      CHECK(same_bits(uniform({n}, -2, 3, a, cpu), uniform({n}, -2, 3, b, gpu)));
      CHECK(same_bits(dropout_mask({n}, 0.3, a, cpu), dropout_mask({n}, 0.3, b, gpu)));
      // Sines and logarithms of another library may differ in the last bits.
      const double tolerance = dtype == DType::float32 ? 2e-7 : 2e-15;
      CHECK(relative_error(normal({n}, 1, 2, b, gpu), normal({n}, 1, 2, a, cpu)) <= tolerance);
      CHECK(a.position() == b.position());
    }
  }
}

}  // namespace
}  // namespace gradus::test
