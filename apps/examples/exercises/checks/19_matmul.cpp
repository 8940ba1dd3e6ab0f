#include <gradus/tensor/ops.h>
#include "cuda_check.h"

GRADUS_EXERCISE {
  const int m = 20, k = 37, n = 33;
  const std::vector<float> a = numbers(m * k, 1), b = numbers(k * n, 2);
  const Tensor expected =
      gradus::matmul(gradus::from_vector(a, {m, k}), gradus::from_vector(b, {k, n}));
  const Tensor ga = on_gpu(a), gb = on_gpu(b);
  Tensor c = fresh_on_gpu(m * n);
  const auto run = [&] {
    launch(matmul, dim3(3, 2), dim3(16, 16), 0, ga.data<float>(), gb.data<float>(), c.data<float>(),
           m, k, n);
  };
  run();
  expect_near("C", c.to_vector<float>(), expected.to_vector<float>(), 1e-5,
              "C_ij = sum_p A_ip B_pj; zeros in the tiles where A or B has ended");
  const auto counted = count_accesses(run);
  expect(counted.shared_reads_of_others > m * k * n,
         fmt::format("threads take {} numbers out of the tiles that others put in",
                     counted.shared_reads_of_others),
         "it is right, but nothing is shared: let each thread put one number into each tile, and "
         "after a barrier multiply what all of them have put in");
  expect(counted.shared_requests <= 6000,
         fmt::format("warps go to shared memory {} times, where 4896 do", counted.shared_requests),
         "it is right, but each number is put into its tile again and again: in a step a thread "
         "puts one number into each tile");
}
