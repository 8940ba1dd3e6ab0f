#include <gradus/data/resize.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "tests/support/errors.h"

namespace {

using namespace gradus;
using data::resize_square;

using Values = std::vector<std::uint8_t>;

Values resized(const Values& values, const Shape& shape, std::int64_t side) {
  const Tensor output = resize_square(from_vector(values, shape), side);
  CHECK(output.shape() == Shape{shape[0], side, side, shape[3]});
  return output.to_vector<std::uint8_t>();
}

Values random_values(std::int64_t count, std::uint32_t seed) {
  Values values;
  for (std::int64_t i = 0; i < count; ++i)
    values.push_back(static_cast<std::uint8_t>((seed = seed * 1664525u + 1013904223u) >> 24));
  return values;
}

/// The documented formula, in two dimensions at once.
double formula(const Values& image, int source, int side, int y, int x) {
  const double r = double(source) / side, reach = std::max(r, 1.0);
  double sum = 0, weights = 0;
  for (int v = 0; v < source; ++v) {
    for (int u = 0; u < source; ++u) {
      const double weight = std::max(0.0, 1 - std::abs(v + 0.5 - (y + 0.5) * r) / reach) *
                            std::max(0.0, 1 - std::abs(u + 0.5 - (x + 0.5) * r) / reach);
      sum += weight * image[static_cast<std::size_t>(v * source + u)];
      weights += weight;
    }
  }
  return sum / weights;
}

}  // namespace

TEST_CASE("resize: the documented formula, smaller and larger") {
  for (const int source : {1, 2, 5, 8, 33}) {
    const Values image = random_values(source * source, 7);
    for (const int side : {1, 2, 3, 8, 13, 40}) {
      CAPTURE(source);
      CAPTURE(side);
      const Values output = resized(image, {1, source, source, 1}, side);
      for (int y = 0; y < side; ++y)
        for (int x = 0; x < side; ++x)
          CHECK(std::abs(output[static_cast<std::size_t>(y * side + x)] -
                         formula(image, source, side, y, x)) < 0.501);
    }
  }
}

TEST_CASE("resize: several images and channels, each alone") {
  const Values images = random_values(3 * 6 * 6 * 2, 1);
  const Values all = resized(images, {3, 6, 6, 2}, 4);
  for (std::size_t n = 0; n < 3; ++n) {
    for (std::size_t c = 0; c < 2; ++c) {
      Values one;
      for (std::size_t i = 0; i < 36; ++i) one.push_back(images[(n * 36 + i) * 2 + c]);
      const Values alone = resized(one, {1, 6, 6, 1}, 4);
      for (std::size_t i = 0; i < 16; ++i) CHECK(all[(n * 16 + i) * 2 + c] == alone[i]);
    }
  }
}

TEST_CASE("resize: the centred square, and images of that size as they are") {
  CHECK(resized({1, 2, 3, 4, 5}, {1, 1, 5, 1}, 1) == Values{3});
  CHECK(resized({1, 2, 3, 4, 5, 6, 7, 8}, {1, 4, 2, 1}, 2) == Values{3, 4, 5, 6});
  const Tensor images = from_vector(random_values(2 * 9 * 9 * 3, 2), {2, 9, 9, 3});
  CHECK(resize_square(images, 9).shares_storage(images));
}

TEST_CASE("resize: what cannot be is refused") {
  CHECK_ERROR(resize_square(Tensor(), 8), "[resize]");
  CHECK_ERROR(resize_square(zeros({1, 2, 2, 3}), 8), "uint8");
  CHECK_ERROR(resize_square(empty({0, 2, 2, 3}, {DType::uint8}), 8), "not empty");
  const Tensor images = empty({1000, 1, 1, 3}, {DType::uint8});
  CHECK_ERROR(resize_square(images, 0), "got 0");
  CHECK_ERROR(resize_square(images, 65536), "memory");
}
