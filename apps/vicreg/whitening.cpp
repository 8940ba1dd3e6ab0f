#include "vicreg/whitening.h"

#include <Eigen/Cholesky>
#include <cmath>
#include <vector>

#include <gradus/tensor/ops.h>

namespace gradus::vicreg {

Tensor Whitening::operator()(const Tensor& x) const {
  return matmul(x - mean, matrix, {.transpose_b = true});
}

Whitening fit_whitening(const Tensor& x) {
  check(x.rank() == 2 && x.size(0) >= 2, "whitening",
        "features must be [N, F] of at least two images; got {}", x.shape());
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  constexpr double ridge = 1e-3;
  Whitening fitted{.mean = mean(x, {0}, true)};
  const Tensor deviations = x - fitted.mean;
  check(all_finite(deviations), "whitening", "features must be finite");
  // W is the same for features of any scale: here the largest deviation is 1.
  const float largest = max(abs(deviations), {0, 1}).values.to(Device::cpu).item<float>();
  const Tensor centred =
      largest > 0 ? div(deviations, full({}, largest, options_of(x))) : deviations;
  const std::vector<float> covariance =
      matmul(centred, centred,
             {.transpose_a = true, .scale = 1.0 / static_cast<double>(x.size(0) - 1)})
          .to_vector<float>();
  const auto f = static_cast<Eigen::Index>(x.size(1));
  Matrix c(f, f);
  for (Eigen::Index i = 0; i < c.size(); ++i) c.data()[i] = covariance[static_cast<std::size_t>(i)];
  const double variance = c.trace() / static_cast<double>(f);
  if (variance > 0) {
    c.diagonal().array() += ridge * variance;
  } else {  // all features are equal
    c.setIdentity();
  }
  const Eigen::LLT<Matrix> factor(c);
  const Matrix inverse = factor.matrixL().solve(Matrix::Identity(f, f)) * std::sqrt(variance);
  const std::vector<float> values(inverse.data(), inverse.data() + inverse.size());
  fitted.matrix = from_vector(values, {x.size(1), x.size(1)}).to(x.device());
  return fitted;
}

}  // namespace gradus::vicreg
