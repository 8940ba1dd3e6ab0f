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
  const std::string places =
      "lane l writes c[0] and c[1] to row l / 4 of C, columns 2 (l % 4) and the next one, c[2] and "
      "c[3] eight rows below";
  const std::vector<float> got = c.to_vector<float>();
  for (std::size_t i = 0; i < got.size(); ++i)
    expect(!std::isnan(got[i]), fmt::format("nobody has written C[{}]", i), places);
  expect_near(
      "C", got, expected.to_vector<float>(), 1e-5,
      "matrix 1 of A is below matrix 0, not beside it; of B it is beside matrix 0; " + places);
}
