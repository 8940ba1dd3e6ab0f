#include <gradus/tensor/ops.h>
#include "cuda_check.h"

GRADUS_EXERCISE {
  using namespace gradus;
  const auto to_bfloat16 = [](std::size_t rows, unsigned seed) {
    return from_vector(numbers(rows * 16, seed), {static_cast<std::int64_t>(rows), 16})
        .to(DType::bfloat16);
  };
  const Tensor a = to_bfloat16(16, 1), b = to_bfloat16(8, 2);
  const Tensor expected =
      gradus::matmul(a.to(DType::float32), b.to(DType::float32), {.transpose_b = true});
  const Tensor ga = a.to(Device::cuda), gb = b.to(Device::cuda);
  Tensor c = fresh_on_gpu(16 * 8);
  launch(tensor_core_product, 1, 32, (256 + 128) * sizeof(BFloat16), ga.data<BFloat16>(),
         gb.data<BFloat16>(), c.data<float>());
  expect_near("C", c.to_vector<float>(), expected.to_vector<float>(), 1e-5,
              "matrix 1 of A is below matrix 0, not beside it; of B it is beside matrix 0");
}
