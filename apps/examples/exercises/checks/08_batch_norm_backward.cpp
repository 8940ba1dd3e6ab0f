#include <gradus/tensor/ops.h>
#include "check.h"

GRADUS_EXERCISE {
  using gradus::from_vector;
  const std::vector<float> dy = numbers(7, 2);
  const auto check = [&](const std::string& where, const std::vector<float>& x,
                         const std::string& hint) {
    const gradus::Tensor values = from_vector(x, {7, 1});
    const auto expected =
        gradus::batch_norm_backward(from_vector(dy, {7, 1}), values,
                                    gradus::batch_norm_statistics(values), gradus::full({1}, 1.5));
    const BatchNormBackward got = batch_norm_backward(dy, x, 1.5f);
    expect_near(where + "dbeta", got.dbeta, expected.dbeta.item<float>(), 1e-5, "the sum of dy");
    expect_near(where + "dgamma", got.dgamma, expected.dgamma.item<float>(), 1e-4,
                "the sum of dy xhat; " + hint);
    expect_near(where + "dx", got.dx, expected.dx.to_vector<float>(), 1e-4,
                "gamma / s times three terms: dy_i, less dbeta / n, less xhat_i dgamma / n");
  };
  std::vector<float> x = numbers(7);
  check("", x, "the variance divides by n, not by n - 1");
  for (float& value : x) value /= 1000;
  check("where x is small, ", x,
        "beside this variance, of 2e-7, eps is not small: s is sqrt(variance + eps), with eps "
        "under the root");
}
