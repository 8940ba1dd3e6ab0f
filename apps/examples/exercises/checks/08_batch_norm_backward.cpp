#include <gradus/tensor/ops.h>
#include "check.h"

GRADUS_EXERCISE {
  using gradus::from_vector;
  const std::vector<float> x = numbers(7), dy = numbers(7, 2);
  const gradus::Tensor values = from_vector(x, {7, 1});
  const auto expected =
      gradus::batch_norm_backward(from_vector(dy, {7, 1}), values,
                                  gradus::batch_norm_statistics(values), gradus::full({1}, 1.5));
  const BatchNormBackward got = batch_norm_backward(dy, x, 1.5f);
  expect_near("dbeta", got.dbeta, expected.dbeta.item<float>(), 1e-5, "the sum of dy");
  expect_near("dgamma", got.dgamma, expected.dgamma.item<float>(), 1e-4,
              "the sum of dy xhat; the variance divides by n, not by n - 1");
  expect_near("dx", got.dx, expected.dx.to_vector<float>(), 1e-4,
              "gamma / s times three terms: dy_i, less dbeta / n, less xhat_i dgamma / n");
}
