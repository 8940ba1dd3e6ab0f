#include "cuda_check.h"

GRADUS_EXERCISE {
  const int rows = 70, columns = 40;
  const std::vector<float> x = numbers(rows * columns);
  std::vector<float> expected(x.size());
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; ++j)
      expected[static_cast<std::size_t>(j * rows + i)] =
          x[static_cast<std::size_t>(i * columns + j)];
  const Tensor gx = on_gpu(x);
  Tensor y = fresh_on_gpu(x.size());
  const auto run = [&] {
    launch(transpose, dim3(2, 3), dim3(32, 32), 0, gx.data<float>(), y.data<float>(), rows,
           columns);
  };
  run();
  expect_near("y", y.to_vector<float>(), expected, 0,
              "y[j * rows + i] = x[i * columns + j]; the tile's places are swapped, too");
  const auto counted = count_accesses(run);
  expect(
      counted.shared_reads_of_others > rows * columns / 2,
      fmt::format("threads take {} numbers out of the tile that others put in, of {}",
                  counted.shared_reads_of_others, rows * columns),
      "it is right, but either reads or writes jump: thread (tx, ty) reads x[.. + tx] and writes "
      "y[.. + tx], so what it takes out of the tile, another one has put in");
  const std::int64_t conflicts = counted.shared_wavefronts - counted.shared_ideal_wavefronts;
  expect(conflicts == 0, fmt::format("{} bank conflicts", conflicts),
         "make the tile's rows 33 words long: in its size and in both indices, row * 33 + column");
}
