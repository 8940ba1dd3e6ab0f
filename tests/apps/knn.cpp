// Weighted kNN against the definition, written out.
#include "vicreg/knn.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include <gradus/tensor/ops.h>
#include <gradus/tensor/random.h>
#include "tests/support/errors.h"
#include "tests/support/near.h"

namespace {

using namespace gradus;
using vicreg::knn_scores;

Tensor labels_of(const std::vector<std::int64_t>& labels) {
  return from_vector<std::int64_t>(labels, {static_cast<std::int64_t>(labels.size())});
}

double cosine(const float* a, const float* b, std::size_t size) {
  double dot = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < size; ++i) {
    dot += double{a[i]} * b[i];
    aa += double{a[i]} * a[i];
    bb += double{b[i]} * b[i];
  }
  return dot / std::sqrt(aa * bb);
}

/// Scores [classes] of one test image, in double, by sorting everything; the nearest counts 1.
std::vector<double> naive_scores(const Tensor& train, const std::vector<std::int64_t>& labels,
                                 const float* test, std::size_t classes, std::size_t k,
                                 double temperature) {
  const auto features = static_cast<std::size_t>(train.size(1));
  std::vector<std::pair<double, std::size_t>> order;
  for (std::size_t i = 0; i < labels.size(); ++i)
    order.emplace_back(-cosine(train.data<float>() + i * features, test, features), i);
  std::sort(order.begin(), order.end());
  std::vector<double> scores(classes, 0);
  for (std::size_t j = 0; j < k; ++j)
    scores[static_cast<std::size_t>(labels[order[j].second])] +=
        std::exp((order[0].first - order[j].first) / temperature);
  return scores;
}

}  // namespace

TEST_CASE("kNN agrees with the definition") {
  Generator generator(3);
  constexpr std::size_t classes = 4;
  for (const std::int64_t count : {1, 7, 50}) {
    const Tensor train = normal({count, 5}, 0, 1, generator);
    const Tensor test = normal({300, 5}, 0, 1, generator);  // more than one block of test images
    std::vector<std::int64_t> labels;
    for (std::int64_t i = 0; i < count; ++i) labels.push_back(i * 7 % 4);
    for (const std::int64_t k : {std::int64_t{1}, std::int64_t{3}, std::int64_t{1000}}) {
      const Tensor scores = knn_scores(train, labels_of(labels), test, classes, {.k = k});
      REQUIRE(scores.shape() == Shape{300, classes});
      const std::vector<float> values = scores.to_vector<float>();
      for (std::size_t i = 0; i < 300; ++i) {
        const std::vector<double> expected =
            naive_scores(train, labels, test.data<float>() + i * 5, classes,
                         static_cast<std::size_t>(std::min(k, count)), 0.1);
        for (std::size_t c = 0; c < classes; ++c)
          REQUIRE(values[i * classes + c] == test::near(expected[c], 1e-5));
      }
    }
  }
}

TEST_CASE("kNN looks at directions, not at lengths") {
  const Tensor train = from_vector<float>({100, 0, 0, 1e-3f}, {2, 2});
  const Tensor test = from_vector<float>({1, 1.1f, 3, 2.9f}, {2, 2});
  const Tensor scores = knn_scores(train, labels_of({0, 1}), test, 2, {.k = 1});
  CHECK(scores.data<float>()[0] == 0);
  CHECK(scores.data<float>()[1] > 0);
  CHECK(scores.data<float>()[2] > 0);
  CHECK(scores.data<float>()[3] == 0);
}

TEST_CASE("kNN gives ties to the earlier image, and zero features no NaN") {
  const Tensor same = from_vector<float>({1, 2, 1, 2, 1, 2}, {3, 2});
  const Tensor test = from_vector<float>({1, 2, 0, 0}, {2, 2});
  const Tensor scores = knn_scores(same, labels_of({2, 0, 1}), test, 3, {.k = 1, .temperature = 1});
  const std::vector<float> values = scores.to_vector<float>();
  CHECK(values[0] == 0);
  CHECK(values[1] == 0);
  CHECK(values[2] == 1);
  CHECK(std::vector<float>(values.begin() + 3, values.end()) == std::vector<float>{0, 0, 1});
}

TEST_CASE("kNN at any temperature: near 0 the nearest image decides") {
  const Tensor train = from_vector<float>({1, 0, 0.6f, 0.8f, 0, 1}, {3, 2});
  const Tensor test = from_vector<float>({0.1f, 1, 0.9f, 0.1f}, {2, 2});
  for (const double temperature : {1e-2, 1e-3, 1e-30, 1e-300}) {
    CAPTURE(temperature);
    const Tensor scores =
        knn_scores(train, labels_of({2, 0, 1}), test, 3, {.k = 3, .temperature = temperature});
    CHECK(all_finite(scores));
    CHECK(argmax(scores, -1).to_vector<std::int64_t>() == std::vector<std::int64_t>{1, 2});
  }
  const Tensor even = knn_scores(train, labels_of({2, 0, 1}), test, 3, {.temperature = 1e300});
  CHECK(even.to_vector<float>() == std::vector<float>(6, 1.0f));
}

TEST_CASE("kNN of features of any size, and of none that are not finite") {
  for (const float size : {1e25f, 1e-25f, 3e38f, 1e-40f, 1.0f}) {
    CAPTURE(size);
    const Tensor train = from_vector<float>({size, 0, 0, size}, {2, 2});
    const Tensor test = from_vector<float>({size / 8, size, size, -size / 8}, {2, 2});
    const Tensor scores = knn_scores(train, labels_of({0, 1}), test, 2, {.k = 1});
    CHECK(scores.to_vector<float>() == std::vector<float>{0, 1, 1, 0});
  }
  Tensor bad = ones({3, 2});
  for (const float value : {NAN, INFINITY, -INFINITY}) {
    bad.data<float>()[5] = value;
    CHECK_ERROR(knn_scores(bad, labels_of({0, 1, 0}), ones({1, 2}), 2),
                "[knn] the features of training image 2 are not finite (NaN or infinity)");
    CHECK_ERROR(knn_scores(ones({1, 2}), labels_of({0}), bad, 2), "features of test image 2");
  }
  CHECK_ERROR(knn_scores(ones({1, 0}), labels_of({0}), ones({1, 0}), 2), "must not be empty");
  CHECK_ERROR(knn_scores(ones({1, 2}), labels_of({0}), ones({1, 2}), 2, {.temperature = NAN}),
              "positive");
}

TEST_CASE("kNN refuses what does not fit") {
  const Tensor train = zeros({2, 3});
  CHECK_ERROR(knn_scores(train, labels_of({0, 1}), zeros({2, 4}), 2), "[2, 4]");
  CHECK_ERROR(knn_scores(train, labels_of({0}), train, 2), "needs a label");
  CHECK_ERROR(knn_scores(zeros({0, 3}), labels_of({}), train, 2), "needs a label");
  CHECK_ERROR(knn_scores(train, labels_of({0, 1}), train, 2, {.k = 0}), "positive");
  CHECK_ERROR(knn_scores(train, labels_of({0, 2}), train, 2), "label");
  CHECK_ERROR(knn_scores(train, labels_of({-1, 0}), train, 2), "label");
}
