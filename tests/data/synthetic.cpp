#include <gradus/data/synthetic.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

namespace {

using namespace gradus;
using namespace gradus::data;

constexpr std::int64_t image_bytes = 32 * 32 * 3;

TEST_CASE("an image depends only on seed, split and index") {
  const Dataset some = synthetic_dataset(23, Split::train, 5);
  const Dataset more = synthetic_dataset(64, Split::train, 5);
  const auto a = some.images.to_vector<std::uint8_t>();
  const auto b = more.take(23).images.to_vector<std::uint8_t>();
  CHECK(a == b);
  CHECK(a != synthetic_dataset(23, Split::test, 5).images.to_vector<std::uint8_t>());
  CHECK(a != synthetic_dataset(23, Split::train, 6).images.to_vector<std::uint8_t>());

  std::set<std::vector<std::uint8_t>> distinct;
  const auto all = more.images.to_vector<std::uint8_t>();
  for (std::int64_t i = 0; i < 64; ++i) {
    distinct.emplace(all.begin() + i * image_bytes, all.begin() + (i + 1) * image_bytes);
  }
  CHECK(distinct.size() == 64);
}

TEST_CASE("classes come evenly and have names") {
  const Dataset dataset = synthetic_dataset(50, Split::test);
  CHECK(dataset.images.shape() == Shape{50, 32, 32, 3});
  CHECK(dataset.class_names == std::vector<std::string>{"disc", "square", "triangle", "star",
                                                        "cross", "ring", "stripes", "checkers",
                                                        "dots", "bullseye"});
  std::array<int, 10> count{};
  for (const std::int64_t label : dataset.labels.to_vector<std::int64_t>()) {
    REQUIRE((label >= 0 && label < 10));
    ++count[static_cast<std::size_t>(label)];
  }
  CHECK(std::all_of(count.begin(), count.end(), [](int n) { return n == 5; }));
  for (std::int64_t i = 0; i < 50; ++i) CHECK(dataset.labels.data<std::int64_t>()[i] == i % 10);
  CHECK(synthetic_dataset(1, Split::train).size() == 1);
  CHECK_THROWS_AS(synthetic_dataset(0, Split::train), Error);
}

TEST_CASE("objects are painted: their shapes by area and their textures in two colours") {
  constexpr std::int64_t count = 1000;
  const Dataset dataset = synthetic_dataset(count, Split::train);
  // How many pixels look like the one in the middle, which the object covers: a mean by class.
  std::array<double, 10> mean{};
  for (std::int64_t i = 0; i < count; ++i) {
    const auto* image = dataset.images.data<std::uint8_t>() + i * image_bytes;
    const auto* middle = image + 3 * (16 * 32 + 16);
    for (int p = 0; p < 32 * 32; ++p) {
      int difference = 0;
      for (int c = 0; c < 3; ++c)
        difference = std::max(difference, std::abs(image[3 * p + c] - middle[c]));
      // 30: most of what light and noise make of one colour
      if (difference <= 30) mean[static_cast<std::size_t>(i % 10)] += 10.0 / count;
    }
  }
  // In squared radii, a disc and a square cover 2.3, a triangle 1.3, the stripes of one colour 1.4.
  const double disc = mean[0], square = mean[1], triangle = mean[2], stripes = mean[6];
  CHECK(square > 1.3 * triangle);
  CHECK(disc > 1.3 * triangle);
  CHECK(disc > 1.3 * stripes);
}

TEST_CASE("the mean colour does not give the class away") {
  constexpr int count = 4000;
  const Dataset dataset = synthetic_dataset(count, Split::train);
  const auto* pixels = dataset.images.data<std::uint8_t>();
  std::vector<std::array<double, 3>> colour(count);
  std::array<std::array<double, 3>, 10> centre{};
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t p = 0; p < 1024; ++p) {
      for (std::size_t c = 0; c < 3; ++c)
        colour[i][c] += pixels[i * image_bytes + 3 * p + c] / 1024.0;
    }
    if (i < count / 2) {
      for (std::size_t c = 0; c < 3; ++c) centre[i % 10][c] += colour[i][c] / (count / 20);
    }
  }
  int correct = 0;  // nearest class centre, on the second half
  for (std::size_t i = count / 2; i < count; ++i) {
    std::array<double, 10> distance{};
    for (std::size_t k = 0; k < 10; ++k) {
      for (std::size_t c = 0; c < 3; ++c) {
        distance[k] += (colour[i][c] - centre[k][c]) * (colour[i][c] - centre[k][c]);
      }
    }
    const auto nearest = std::min_element(distance.begin(), distance.end()) - distance.begin();
    correct += static_cast<std::size_t>(nearest) == i % 10;
  }
  CHECK(correct < 0.14 * count / 2);  // chance is 10 %, standard deviation 0.7 %
}

}  // namespace
