#include "vicreg/embedding_health.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include <gradus/tensor/ops.h>
#include "tests/support/errors.h"
#include "tests/support/near.h"
#include "tests/support/temp_folder.h"

using namespace gradus;
using namespace gradus::vicreg;

namespace {

/// z [rows, columns] with element (i, j) given by `f`.
template <class F>
Tensor matrix(std::int64_t rows, std::int64_t columns, F f) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) values.push_back(static_cast<float>(f(i, j)));
  }
  return from_vector(values, {rows, columns});
}

}  // namespace

TEST_CASE("embedding health: standard deviations") {
  // Columns 1, 2, 3, 4 (std sqrt(5/3)) and 10, 10, 10, 14 (std 2).
  const Tensor z = from_vector<float>({1, 10, 2, 10, 3, 10, 4, 14}, {4, 2});
  const EmbeddingHealth health = measure(z);
  CHECK(health.std_min == test::near(std::sqrt(5.0 / 3)));
  CHECK(health.std_mean == test::near((std::sqrt(5.0 / 3) + 2) / 2));
}

TEST_CASE("embedding health: a large mean does not swallow the standard deviation") {
  const Tensor z = matrix(64, 3, [](auto i, auto) { return 4096 + (i % 2 == 0 ? 1 : -1) * 0.25; });
  CHECK(measure(z).std_mean == test::near(0.25 * std::sqrt(64.0 / 63)));
}

TEST_CASE("embedding health: effective rank of known singular values") {
  // Orthogonal columns: singular values 3, 2, 1; entropy of (1/2, 1/3, 1/6).
  const Tensor z = from_vector<float>({3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0}, {4, 3});
  const double entropy = std::log(2) / 2 + std::log(3) / 3 + std::log(6) / 6;
  CHECK(measure(z).effective_rank == test::near(std::exp(entropy)));
  // The same, transposed: fewer rows than columns.
  const Tensor transposed = from_vector<float>({3, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0}, {3, 4});
  CHECK(measure(transposed).effective_rank == test::near(std::exp(entropy)));
}

TEST_CASE("embedding health: full rank and rank one") {
  const auto identity = [](auto i, auto j) { return i == j ? 2.0 : 0.0; };
  CHECK(measure(matrix(8, 8, identity)).effective_rank == test::near(8, 4e-6));
  CHECK(measure(matrix(20, 8, identity)).effective_rank == test::near(8, 4e-6));
  CHECK(measure(matrix(8, 20, identity)).effective_rank == test::near(8, 4e-6));
  const auto line = [](auto i, auto j) { return double(i + 1) * double(j + 1); };
  CHECK(measure(matrix(33, 17, line)).effective_rank == test::near(1, 1e-4));
  CHECK(measure(matrix(5, 1, line)).effective_rank == test::near(1));
  CHECK(measure(matrix(5, 3, [](auto, auto) { return 0; })).effective_rank == 1);
}

TEST_CASE("embedding health: effective rank does not depend on a rotation") {
  // Columns mixed by a Householder reflection I - 2 v v^T.
  constexpr int n = 6;
  double norm = 0;
  for (int j = 0; j < n; ++j) norm += (j + 1.0) * (j + 1.0);
  const auto base = [](auto i, auto j) { return std::sin(1.7 * double(i) + 0.9 * double(i * j)); };
  const auto rotated = [&](auto i, auto j) {
    double dot = 0;
    for (int k = 0; k < n; ++k) dot += base(i, std::int64_t{k}) * (k + 1.0);
    return base(i, j) - 2 * dot * (double(j) + 1) / norm;
  };
  const double rank = measure(matrix(40, n, base)).effective_rank;
  CHECK(rank > 2);
  CHECK(rank < n);
  CHECK(measure(matrix(40, n, rotated)).effective_rank == test::near(rank));
}

TEST_CASE("embedding health: what is not finite gives NaN, and a warning") {
  Tensor z = matrix(4, 4, [](auto i, auto j) { return double(i * j); });
  z.data<float>()[5] = std::numeric_limits<float>::quiet_NaN();
  const EmbeddingHealth health = measure(z);
  CHECK(std::isnan(health.std_mean));
  CHECK(std::isnan(health.std_min));
  CHECK(std::isnan(health.effective_rank));
  CHECK(collapse_warning(health, 4, 4).value().find("not finite") != std::string::npos);
}

TEST_CASE("embedding health: shapes that cannot be measured") {
  CHECK(test::error_of([] {
          measure(zeros({1, 4}));
        }) ==
        "[embedding_health] needs at least two embeddings of at least one dimension; got [1, 4]");
  CHECK(test::error_of([] { measure(zeros({4})); }) ==
        "[embedding_health] embeddings must be float32 [N, D]");
}

TEST_CASE("collapse warnings") {
  const auto warning = [](EmbeddingHealth health, std::int64_t dimensions) {
    return collapse_warning(health, 512, dimensions).value_or("");
  };
  CHECK(warning({.std_mean = 0.98, .std_min = 0.6, .effective_rank = 300}, 1024) == "");
  CHECK(warning({.std_mean = 0.98, .std_min = 0.6, .effective_rank = 1}, 1) == "");
  CHECK(warning({.std_mean = 0.001, .std_min = 0, .effective_rank = 300}, 1024)
            .find("nearly the same point (mean std 0.001,") != std::string::npos);
  CHECK(warning({.std_mean = 0.98, .std_min = 0.6, .effective_rank = 1.23}, 1024)
            .find("about 1.2 of 1024 dimensions") != std::string::npos);
  CHECK(warning({.std_mean = 0.98, .std_min = 0, .effective_rank = 300}, 1024)
            .find("a dimension of the embeddings is constant") != std::string::npos);
}

TEST_CASE("collapse warnings come from measured embeddings") {
  const auto point = [](auto, auto j) { return double(j % 3); };
  CHECK(collapse_warning(measure(matrix(16, 8, point)), 16, 8).has_value());
  const auto line = [](auto i, auto j) { return double(i - 8) * (double(j) - 3.5); };
  CHECK(collapse_warning(measure(matrix(16, 8, line)), 16, 8).has_value());
  const auto spread = [](auto i, auto j) { return (i >> j) % 2 == 0 ? 1.0 : -1.0; };
  CHECK(!collapse_warning(measure(matrix(256, 8, spread)), 256, 8).has_value());
}

TEST_CASE("few images in many dimensions are no collapse") {
  Generator generator(6);
  for (const auto& [images, dimensions] :
       {std::pair<std::int64_t, std::int64_t>{32, 8192}, {4, 2048}, {3, 4096}, {2, 64}}) {
    CAPTURE(images);
    const Tensor z = normal({images, dimensions}, 0, 1, generator);
    const EmbeddingHealth health = measure(z);
    CHECK(health.effective_rank > 0.9 * static_cast<double>(images));
    CHECK_FALSE(collapse_warning(health, images, dimensions).has_value());
  }
  // The same few images on a line are one, and many images in few of many dimensions.
  const Tensor line = matmul(normal({32, 1}, 0, 1, generator), normal({1, 8192}, 0, 1, generator));
  CHECK(
      collapse_warning(measure(line), 32, 8192).value().find("use about 1.0 of 8192 dimensions") !=
      std::string::npos);
  CHECK(
      collapse_warning({.std_mean = 1, .std_min = 1, .effective_rank = 5}, 8193, 8192).has_value());
}
