#include <gradus/tensor/ops.h>
#include "cuda_check.h"

GRADUS_EXERCISE {
  for (const int columns : {10, 32, 77}) {
    std::vector<float> x = numbers(static_cast<std::size_t>(3 * columns));
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] *= 200;                                             // exp(200) is infinite,
      if (i < static_cast<std::size_t>(columns)) x[i] -= 400;  // exp(-200) is zero
    }
    const Tensor expected = gradus::softmax(gradus::from_vector(x, {3, columns}));
    const Tensor gx = on_gpu(x);
    Tensor y = fresh_on_gpu(x.size());
    const auto run = [&] { launch(softmax, 3, 32, 0, gx.data<float>(), y.data<float>(), columns); };
    run();
    expect_near(
        fmt::format("with {} columns, y", columns), y.to_vector<float>(),
        expected.to_vector<float>(), 1e-5,
        "row r begins at x[r * columns]; lane l takes elements l, l + 32, ...; subtract the "
        "largest of the whole row (it may be below 0); divide by the sum of all lanes");
    const std::int64_t exchanges = count_accesses(run).lane_exchanges / (3 * 32);
    expect(exchanges >= 10, fmt::format("a lane asks others {} times, where 10 do", exchanges),
           "it is right, but lanes do the same work: let each take every 32nd element, and combine "
           "first the largest, then the sum, each at five distances");
  }
}
