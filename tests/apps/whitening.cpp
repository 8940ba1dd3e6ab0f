// Whitening of features.
#include "vicreg/whitening.h"

#include <doctest/doctest.h>

#include <cmath>

#include <gradus/tensor/ops.h>
#include <gradus/tensor/random.h>
#include "tests/support/errors.h"
#include "tests/support/near.h"

using namespace gradus;
using namespace gradus::test;
using vicreg::fit_whitening;

namespace {

/// Covariance of the columns of x [N, F], row by row.
std::vector<float> covariance(const Tensor& x) {
  const Tensor centred = x - mean(x, {0}, true);
  return matmul(centred, centred,
                {.transpose_a = true, .scale = 1.0 / static_cast<double>(x.size(0) - 1)})
      .to_vector<float>();
}

}  // namespace

TEST_CASE("whitened features are centred, uncorrelated, and of equal variance") {
  Generator generator(2);
  constexpr std::int64_t n = 3000, f = 8;
  // Independent features whose variances lie between 1 and 9, each with a third of all added,
  // around a mean of 5.
  Tensor scales = empty({f});
  for (std::int64_t j = 0; j < f; ++j) scales.data<float>()[j] = 1 + 2 * static_cast<float>(j) / 7;
  const Tensor mixed = matmul(normal({n, f}, 0, 1, generator) * scales,
                              one_hot(arange(0, f), f, DType::float32) + full({f, f}, 1.0 / 3));
  const Tensor x = affine(mixed, 1, 5);
  double variance = 0;
  const std::vector<float> before = covariance(x);
  for (std::size_t j = 0; j < f; ++j) variance += before[j * f + j] / f;

  const Tensor y = fit_whitening(x)(x);
  const std::vector<float> after = covariance(y);
  for (std::size_t j = 0; j < f; ++j) {
    for (std::size_t k = 0; k < f; ++k) {
      CAPTURE(j);
      CAPTURE(k);
      CHECK(std::abs(after[j * f + k] / variance - (j == k ? 1 : 0)) < 0.03);
    }
    CHECK(std::abs(mean(y, {0}).to_vector<float>()[j]) < 1e-4);
  }
  double correlated = 0;  // before it, they were
  for (std::size_t j = 0; j < f; ++j)
    for (std::size_t k = 0; k < j; ++k) correlated += std::abs(before[j * f + k]) / variance;
  CHECK(correlated > 3);
}

TEST_CASE("features that are whitened with others' statistics") {
  const Tensor x = from_vector<float>({1, 0, -1, 0, 0, 2, 0, -2}, {4, 2});  // variances 2/3, 8/3
  const auto whiten = fit_whitening(x);
  // c = 5/3; y_j = x_j sqrt(c / (variance_j + 0.001 c))
  const auto y = whiten(from_vector<float>({3, 7}, {1, 2})).to_vector<float>();
  const double c = 5.0 / 3;
  CHECK(y[0] == near(3 * std::sqrt(c / (2.0 / 3 + 0.001 * c))));
  CHECK(y[1] == near(7 * std::sqrt(c / (8.0 / 3 + 0.001 * c))));
}

TEST_CASE("features of any size are whitened alike") {
  Generator generator(5);
  const Tensor x = normal({50, 4}, 0, 1, generator);
  const std::vector<float> expected = fit_whitening(x)(x).to_vector<float>();
  for (const double scale : {1e-30, 1e-24, 1e20, 1e35}) {
    CAPTURE(scale);
    const Tensor scaled = affine(x, scale, 0);
    const std::vector<float> y = fit_whitening(scaled)(scaled).to_vector<float>();
    for (std::size_t i = 0; i < y.size(); ++i) REQUIRE(y[i] / scale == near(expected[i], 1e-4));
  }
}

TEST_CASE("constant features stay finite when they are whitened") {
  Generator generator(4);
  Tensor x = normal({50, 3}, 0, 1, generator);
  for (std::int64_t i = 0; i < 50; ++i) x.data<float>()[i * 3 + 1] = 4;  // a dead unit
  CHECK(all_finite(fit_whitening(x)(x)));
  const Tensor equal = full({6, 3}, 2);
  CHECK(fit_whitening(equal)(equal).to_vector<float>() == std::vector<float>(18, 0.0f));
  CHECK_ERROR(fit_whitening(zeros({1, 3})), "at least two images; got [1, 3]");
  x.data<float>()[0] = NAN;
  CHECK_ERROR(fit_whitening(x), "features must be finite");
}
