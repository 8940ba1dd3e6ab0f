#include <gradus/tensor/ops.h>
#include "cuda_check.h"

GRADUS_EXERCISE {
  using namespace gradus;
  const int height = 5, width = 6, channels = 3, outputs = 2, depth = 9 * channels;
  const std::vector<float> image = numbers(height * width * channels);
  const Tensor gx = on_gpu(image);
  Tensor columns = fresh_on_gpu(height * width * depth);
  launch(im2col, 2, 64, 0, gx.data<float>(), columns.data<float>(), height, width, channels);
  const std::vector<float> got = columns.to_vector<float>();
  for (std::size_t i = 0; i < got.size(); ++i)
    expect(
        !std::isnan(got[i]), fmt::format("columns[{}] is nan", i),
        "nobody wrote it (stride on: there are fewer threads than elements), or it was read from "
        "outside of the image");
  const Tensor weight = from_vector(numbers(outputs * depth, 2), {outputs, 3, 3, channels});
  const Tensor product = gradus::matmul(from_vector(got, {height * width, depth}),
                                        weight.reshape({outputs, depth}), {.transpose_b = true});
  const Tensor y =
      conv2d(from_vector(image, {1, height, width, channels}), weight, {}, {.padding = 1});
  expect_near("the product with the weights", product.to_vector<float>(), y.to_vector<float>(),
              1e-5, "zeros at all four borders; the order within a row is ky, kx, channel");
}
