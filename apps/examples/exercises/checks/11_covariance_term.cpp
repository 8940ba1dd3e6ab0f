#include <gradus/autograd/ops.h>
#include "check.h"

GRADUS_EXERCISE {
  using namespace gradus;
  const int n = 6, d = 4;
  const std::vector<float> values = numbers(n * d);
  const Variable z(from_vector(values, {n, d}), true);
  const Variable centred = z - mean(z, {0}, true);
  const Variable covariance = matmul(centred, centred, {.transpose_a = true}) / (n - 1);
  const Variable loss = off_diagonal_square_sum(covariance) / d;
  loss.backward();
  const Term got = covariance_term(values, n, d);
  expect_near("the loss", got.loss, loss.item<float>(), 1e-5,
              "both C_jk and C_kj count, the diagonal does not; subtract the mean first");
  expect_near("dz", got.dz, z.grad().to_vector<float>(), 1e-4,
              "4 / (d (n - 1)) times a sum over the other dimensions");
}
