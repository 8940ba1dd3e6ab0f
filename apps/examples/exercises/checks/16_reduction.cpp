#include "cuda_check.h"

GRADUS_EXERCISE {
  const std::vector<float> x = numbers(3 * 256);
  std::vector<double> expected(3);
  for (std::size_t i = 0; i < x.size(); ++i) expected[i / 256] += x[i];
  const Tensor gx = on_gpu(x);
  Tensor y = fresh_on_gpu(3);
  const auto run = [&] { launch(block_sums, 3, 256, 0, gx.data<float>(), y.data<float>()); };
  run();
  expect_near("y", y.to_vector<float>(), expected, 1e-5,
              "block b begins at x[256 b]; its thread 0 writes the sum, after the last of eight "
              "turns, that of distance 1");
  const std::int64_t requests = count_accesses(run).shared_requests / 3;
  expect(requests > 0, "shared memory is not used",
         "it is right, but nothing was added together: put the numbers into `partial`");
  expect(
      requests <= 100, fmt::format("a block goes to shared memory {} times, where 45 do", requests),
      "it is right, but too few neighbours add at once: in a turn let threads 0 .. d - 1 add the "
      "number d places on, for d = 128, 64, ..., 1");
}
