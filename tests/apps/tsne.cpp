#include "vicreg/tsne.h"

#include <doctest/doctest.h>
#include <omp.h>

#include <cmath>

#include <gradus/tensor/ops.h>
#include <gradus/tensor/random.h>

using namespace gradus;
using namespace gradus::vicreg;

namespace {

/// Three groups of points around directions of their own in 16 dimensions: point i is of group i
/// mod 3.
Tensor groups(std::int64_t count) {
  Generator generator(3);
  Tensor features = normal({count, 16}, 0, 0.1, generator);
  for (std::int64_t i = 0; i < count; ++i) features.data<float>()[i * 16 + i % 3] += 1;
  return features;
}

double distance(const std::vector<double>& y, std::size_t a, std::size_t b) {
  return std::hypot(y[2 * a] - y[2 * b], y[2 * a + 1] - y[2 * b + 1]);
}

}  // namespace

TEST_CASE("t-SNE: the nearest points on the map are of the same group") {
  const std::vector<double> y = tsne(groups(120));
  REQUIRE(y.size() == 240);
  int right = 0;
  double largest = 0;
  for (std::size_t i = 0; i < 120; ++i) {
    std::size_t best = i == 0 ? 1 : 0;
    for (std::size_t j = 0; j < 120; ++j)
      if (j != i && distance(y, i, j) < distance(y, i, best)) best = j;
    right += best % 3 == i % 3;
    largest = std::max({largest, std::abs(y[2 * i]), std::abs(y[2 * i + 1])});
  }
  CHECK(right >= 118);
  CHECK(largest == doctest::Approx(1));
}

TEST_CASE("t-SNE: the same for any number of threads") {
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const std::vector<double> one = tsne(groups(50), {.iterations = 100});
  omp_set_num_threads(3);
  CHECK(tsne(groups(50), {.iterations = 100}) == one);
  omp_set_num_threads(before);
}

TEST_CASE("t-SNE: few points, and points that are all the same") {
  for (const std::int64_t count : {0, 1, 2, 3, 5}) {
    const std::vector<double> y = tsne(groups(count));
    CHECK(y.size() == static_cast<std::size_t>(2 * count));
    for (const double value : y) CHECK(std::abs(value) <= 1);
  }
  for (const double value : tsne(ones({20, 4}))) CHECK(std::isfinite(value));
  for (const double value : tsne(zeros({20, 4}))) CHECK(std::isfinite(value));
}
