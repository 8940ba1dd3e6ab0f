#include <gradus/tensor/ops.h>
#include "check.h"

GRADUS_EXERCISE {
  using namespace gradus;
  const int height = 3, width = 4, channels = 2, outputs = 5, depth = 9 * channels;
  const std::vector<float> image = numbers(height * width * channels);
  const std::vector<float> columns = im2col(image, height, width, channels);
  expect(columns.size() == static_cast<std::size_t>(height * width * depth),
         fmt::format("there are {} elements, expected {}", columns.size(), height * width * depth),
         "height * width rows of 9 * channels elements, the zeros of the border too");
  expect_near("columns[0], above the first pixel and left of it,", columns[0], 0, 0,
              "what lies outside of the image is zero");
  expect_near("columns[8], the first pixel's first channel in the first row,", columns[8], image[0],
              0, "the middle of the kernel (ky = kx = 1) sees the pixel itself");
  const Tensor weight = from_vector(numbers(outputs * depth, 2), {outputs, 3, 3, channels});
  const Tensor product = matmul(from_vector(columns, {height * width, depth}),
                                weight.reshape({outputs, depth}), {.transpose_b = true});
  const Tensor y =
      conv2d(from_vector(image, {1, height, width, channels}), weight, {}, {.padding = 1});
  expect_near("the product with the weights", product.to_vector<float>(), y.to_vector<float>(),
              1e-5,
              "the order within a row is ky, kx, channel; both borders of both axes are zero");
}
