#include <gradus/tensor/ops.h>
#include "cuda_check.h"

GRADUS_EXERCISE {
  const int rows = 300, channels = 3;
  std::vector<float> x = numbers(rows * channels);
  for (std::size_t i = 1; i < x.size(); i += 3) x[i] += 1000;  // channel 1 is far from 0
  const auto expected = gradus::batch_norm_statistics(gradus::from_vector(x, {rows, channels}));
  const Tensor gx = on_gpu(x);
  Tensor mean = fresh_on_gpu(channels), variance = fresh_on_gpu(channels);
  const auto run = [&] {
    launch(batch_norm_statistics, channels, 128, 0, gx.data<float>(), mean.data<float>(),
           variance.data<float>(), rows, channels);
  };
  run();
  expect_near("mean", mean.to_vector<float>(), expected.mean.to_vector<float>(), 1e-5,
              "the sum over all rows, divided by rows; x[row * channels + channel]");
  expect_near("variance", variance.to_vector<float>(), expected.variance.to_vector<float>(), 1e-3,
              "the mean of (x - mean)^2, in a second pass: mean(x^2) - mean^2 loses all digits");
  expect(count_accesses(run).shared_reads_of_others > 0,
         "no thread takes what another one added up",
         "it is right, but each thread adds up everything: let it take every 128th row, and "
         "complete sum_of_block");
}
