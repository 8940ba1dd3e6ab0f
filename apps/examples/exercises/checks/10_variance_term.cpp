#include <gradus/autograd/ops.h>
#include "check.h"

GRADUS_EXERCISE {
  using namespace gradus;
  const int n = 6, d = 3;
  std::vector<float> values = numbers(n * d);
  for (int i = 0; i < n; ++i) values[static_cast<std::size_t>(i * d + 1)] *= 9;  // spreads enough
  const Variable z(from_vector(values, {n, d}), true);
  const Variable loss = mean(relu(1 - sqrt(variance(z, {0}) + 1e-4)));
  loss.backward();
  const Term got = variance_term(values, n, d);
  expect_near("the loss", got.loss, loss.item<float>(), 1e-5,
              "the variance divides by n - 1, the sum over dimensions by d, and eps stands under "
              "the root");
  expect_near("dz", got.dz, z.grad().to_vector<float>(), 1e-4,
              "no gradient where s_j is 1 or more; a minus sign elsewhere");
}
