#include <gradus/tensor/ops.h>
#include "cuda_check.h"

GRADUS_EXERCISE {
  for (const int columns : {10, 32, 77}) {
    std::vector<float> x = numbers(static_cast<std::size_t>(3 * columns));
    for (float& value : x) value *= 200;  // exp(200) is infinite
    const Tensor expected = gradus::softmax(gradus::from_vector(x, {3, columns}));
    const Tensor gx = on_gpu(x);
    Tensor y = fresh_on_gpu(x.size());
    launch(softmax, 3, 32, 0, gx.data<float>(), y.data<float>(), columns);
    expect_near(fmt::format("with {} columns, y", columns), y.to_vector<float>(),
                expected.to_vector<float>(), 1e-5,
                "subtract the largest of the whole row, not of the lane; all lanes need the sum");
  }
}
