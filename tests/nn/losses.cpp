#include <gradus/nn/losses.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include <gradus/autograd/gradcheck.h>
#include <gradus/autograd/ops.h>
#include <gradus/nn/coding_rate_loss.h>
#include <gradus/nn/fused.h>
#include <gradus/nn/vicreg_loss.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/near.h"

using namespace gradus;
using namespace gradus::nn;
using namespace gradus::test;

namespace {

TensorOptions float64() { return device_options(DType::float64); }

Tensor random_embeddings(const Shape& shape, std::uint64_t seed, double spread = 0.7) {
  Generator generator(seed);
  return normal(shape, 0.2, spread, generator, float64());
}

struct Terms {
  double invariance = 0, variance = 0, covariance = 0;
};

/// The definition, with loops: z1, z2 [n, d].
Terms naive_vicreg(const std::vector<double>& z1, const std::vector<double>& z2, std::size_t n,
                   std::size_t d, double eps) {
  Terms terms;
  for (std::size_t i = 0; i < n * d; ++i) {
    terms.invariance += (z1[i] - z2[i]) * (z1[i] - z2[i]) / static_cast<double>(n * d);
  }
  for (const auto* z : {&z1, &z2}) {
    std::vector<double> mean(d);
    for (std::size_t i = 0; i < n * d; ++i) mean[i % d] += (*z)[i] / static_cast<double>(n);
    for (std::size_t j = 0; j < d; ++j) {
      for (std::size_t k = 0; k < d; ++k) {
        double covariance = 0;
        for (std::size_t i = 0; i < n; ++i) {
          covariance += ((*z)[i * d + j] - mean[j]) * ((*z)[i * d + k] - mean[k]);
        }
        covariance /= static_cast<double>(n - 1);
        if (j != k) terms.covariance += covariance * covariance / static_cast<double>(d);
        if (j == k) {
          terms.variance += std::max(0.0, 1 - std::sqrt(covariance + eps)) / static_cast<double>(d);
        }
      }
    }
  }
  return terms;
}

/// Two views' embeddings as one: [2 N, D].
Variable both(const Variable& z1, const Variable& z2) { return concat({z1, z2}); }

double value(const Variable& x) {
  return x.value().to(Device::cpu).to(DType::float64).item<double>();
}

}  // namespace

TEST_CASE("the VICReg loss against its definition") {
  for (const auto& [n, d] :
       {std::pair<std::int64_t, std::int64_t>{2, 1}, {2, 3}, {7, 5}, {33, 17}}) {
    const Tensor z1 = random_embeddings({n, d}, 1), z2 = random_embeddings({n, d}, 2, 1.4);
    for (const VICRegOptions& options : {VICRegOptions{}, VICRegOptions{.variance = 12.5},
                                         VICRegOptions{.eps = 0}, VICRegOptions{1, 2, 3, 0.1}}) {
      const VICRegLoss loss = vicreg_loss(both(Variable(z1), Variable(z2)), 2, options);
      const Terms expected =
          naive_vicreg(z1.to_vector<double>(), z2.to_vector<double>(), static_cast<std::size_t>(n),
                       static_cast<std::size_t>(d), options.eps);
      CHECK(value(loss.invariance) == near(expected.invariance, 4e-15));
      CHECK(value(loss.variance) == near(expected.variance, 4e-15));
      CHECK(value(loss.covariance) == near(expected.covariance, 4e-15));
      CHECK(value(loss.total) ==
            near(options.invariance * expected.invariance + options.variance * expected.variance +
                     options.covariance * expected.covariance,
                 4e-15));
      CHECK(loss.total.shape() == Shape{});
    }
  }
}

TEST_CASE("gradients of the VICReg loss") {
  for (const VICRegOptions& options :
       {VICRegOptions{}, VICRegOptions{.variance = 12.5}, VICRegOptions{.eps = 0},
        VICRegOptions{0, 1, 0, 1e-4}, VICRegOptions{0, 0, 1, 1e-4}, VICRegOptions{1, 0, 0, 1e-4}}) {
    const auto result = gradcheck(
        [&](const std::vector<Variable>& z) {
          return vicreg_loss(both(z[0], z[1]), 2, options).total;
        },
        {random_embeddings({5, 4}, 3), random_embeddings({5, 4}, 4)}, {.absolute_tolerance = 1e-7});
    CHECK_MESSAGE(result, result.message);
  }
}

TEST_CASE("a collapsed dimension: finite gradients with eps, and a clear value") {
  Tensor constant = full({4, 3}, 0.5, float64());
  const Variable z1(constant, true), z2(constant.clone(), true);
  const VICRegLoss loss = vicreg_loss(both(z1, z2), 2);
  CHECK(value(loss.variance) == near(2 * (1 - 0.01), 1e-15));
  CHECK(value(loss.covariance) == 0);
  loss.total.backward();
  CHECK(all_finite(z1.grad()));
  CHECK(all_finite(z2.grad()));
}

TEST_CASE("the VICReg loss in float32 stays close to float64") {
  const Tensor z1 = random_embeddings({64, 96}, 8), z2 = random_embeddings({64, 96}, 9);
  const VICRegLoss exact = vicreg_loss(both(Variable(z1), Variable(z2)), 2);
  const VICRegLoss single =
      vicreg_loss(both(Variable(z1.to(DType::float32)), Variable(z2.to(DType::float32))), 2);
  CHECK(value(single.total) == near(value(exact.total)));
}

TEST_CASE("the VICReg loss of many views") {
  for (const std::int64_t views : {2, 3, 5}) {
    const std::int64_t n = 6, d = 4;
    const Tensor z = random_embeddings({views * n, d}, 7, 1.1);
    const VICRegLoss loss = vicreg_loss(Variable(z), views);
    Terms expected;  // means over pairs of views of the loss of two
    int pairs = 0;
    for (std::int64_t v = 0; v < views; ++v) {
      for (std::int64_t w = 0; w < v; ++w, ++pairs) {
        const Terms pair =
            naive_vicreg(z.slice(v * n, (v + 1) * n).to_vector<double>(),
                         z.slice(w * n, (w + 1) * n).to_vector<double>(), 6, 4, 1e-4);
        expected.invariance += pair.invariance;
        expected.variance += pair.variance;
        expected.covariance += pair.covariance;
      }
    }
    CHECK(value(loss.invariance) == near(expected.invariance / pairs, 4e-15));
    CHECK(value(loss.variance) == near(expected.variance / pairs, 4e-15));
    CHECK(value(loss.covariance) == near(expected.covariance / pairs, 4e-15));
    const GradcheckResult result =
        gradcheck([&](const std::vector<Variable>& in) { return vicreg_loss(in[0], views).total; },
                  {z}, {.absolute_tolerance = 1e-7});
    CHECK_MESSAGE(result, result.message);
  }
}

TEST_CASE("the VICReg loss as one op is that of the plain lines") {
  const auto loss_of = [](Variable& z, std::int64_t views) {
    const VICRegOptions options{.invariance = 3, .variance = 5, .covariance = 2, .eps = 0.01};
    const VICRegLoss loss = vicreg_loss(z, views, options);
    // Each term has a gradient of its own beside the total's.
    (loss.total + loss.invariance * 0.5 - loss.variance * 2 + loss.covariance).backward();
    return concat({reshape(loss.total, {1}), reshape(loss.invariance, {1}),
                   reshape(loss.variance, {1}), reshape(loss.covariance, {1})});
  };
  for (const auto& [views, n, d] :
       std::vector<std::array<std::int64_t, 3>>{{2, 2, 1}, {2, 70, 65}, {5, 9, 33}, {2, 300, 65}}) {
    CAPTURE(views);
    CAPTURE(n);
    Variable z(random_embeddings({views * n, d}, 11, 1.2), true), plain_z(z.value().clone(), true);
    const Variable values = loss_of(z, views);
    const NoFusion one_by_one;
    const Variable plain = loss_of(plain_z, views);
    CHECK(max_difference(values.value(), plain.value()) < 1e-12);
    CHECK(max_difference(z.grad(), plain_z.grad()) < 1e-13);
  }
  CHECK_THROWS_WITH_AS(vicreg_terms(zeros({4, 4})),
                       "[vicreg_terms] z must be [V, N, D] of at least 2 views, 2 images and 1 "
                       "dimension; got [4, 4]",
                       Error);
  const Tensor z = ones({2, 3, 4});
  CHECK_THROWS_WITH_AS(vicreg_terms_backward(ones({3}), z, vicreg_terms(z)),
                       "[vicreg_terms_backward] dvalues must have shape [4]; got [3]", Error);
  CHECK_THROWS_WITH_AS(vicreg_terms_backward(ones({4}), ones({2, 5, 4}), vicreg_terms(z)),
                       "[vicreg_terms_backward] centred must have shape [2, 5, 4]; got [2, 3, 4]",
                       Error);
}

TEST_CASE("the VICReg loss refuses what it cannot use") {
  CHECK_THROWS_WITH_AS(vicreg_loss(Variable(zeros({2, 8})), 2),
                       "[vicreg_loss] embeddings must be [2 views x images, dimensions], of at "
                       "least 2 images and 1 dimension; got [2, 8]",
                       Error);
  CHECK_THROWS_WITH_AS(vicreg_loss(Variable(zeros({8, 8})), 1),
                       "[vicreg_loss] it compares at least 2 views; got 1", Error);
  CHECK_THROWS_AS(vicreg_loss(Variable(zeros({8, 8})), 3), Error);
  CHECK_THROWS_AS(vicreg_loss(Variable(zeros({8, 0})), 2), Error);
  CHECK_THROWS_AS(vicreg_loss(Variable(zeros({4, 4, 8})), 2), Error);
  for (const double eps : {-1.0, std::nan(""), HUGE_VAL}) {
    CHECK_THROWS_AS(vicreg_loss(Variable(zeros({8, 8})), 2, {.eps = eps}), Error);
  }
}

TEST_CASE("the coding-rate loss at points that are known") {
  const std::int64_t n = 5, d = 3, views = 4;
  SUBCASE("all embeddings one point") {
    const CodingRateLoss loss =
        coding_rate_loss(Variable(full({views * n, d}, -0.3, float64())), views);
    CHECK(value(loss.similarity) == near(1, 4e-15));
    // One eigenvalue, d / (n eps) n.
    CHECK(value(loss.coding_rate) == near(std::log(1 + 3 / 0.2) / 2, 4e-15));
    CHECK(value(loss.total) == near(-200 - std::log(1 + 3 / 0.2) / 2, 4e-15));
  }
  SUBCASE("images along the axes, views alike but for their length") {
    Tensor z = zeros({views * d, d}, float64());
    std::vector<double> values(static_cast<std::size_t>(views * d * d));
    for (std::int64_t row = 0; row < views * d; ++row) {
      values[static_cast<std::size_t>(row * d + row % d)] = 1 + static_cast<double>(row);
    }
    z.copy_from(from_vector(values, {views * d, d}));
    const CodingRateLoss loss = coding_rate_loss(Variable(z), views, {.similarity = 2, .eps = 0.5});
    CHECK(value(loss.similarity) == near(1, 4e-15));
    // d eigenvalues d / (n eps) with n = d.
    CHECK(value(loss.coding_rate) == near(3 * std::log(1 + 1 / 0.5) / 2, 4e-15));
  }
}

TEST_CASE("the coding-rate loss: gradients, the smaller matrix, float32") {
  for (const auto& [n, d] : {std::pair<std::int64_t, std::int64_t>{4, 7}, {7, 4}, {5, 5}, {2, 1}}) {
    CAPTURE(n);
    const Tensor z = random_embeddings({3 * n, d}, 11);
    const GradcheckResult result = gradcheck(
        [](const std::vector<Variable>& in) {
          return coding_rate_loss(in[0], 3, {.similarity = 3}).total;
        },
        {z}, {.absolute_tolerance = 1e-7});
    CHECK_MESSAGE(result, result.message);
    const CodingRateLoss exact = coding_rate_loss(Variable(z), 3);
    const CodingRateLoss single = coding_rate_loss(Variable(z.to(DType::float32)), 3);
    CHECK(value(single.coding_rate) == near(value(exact.coding_rate), 2e-6));
    CHECK(value(single.similarity) == near(value(exact.similarity), 2e-6));
  }
}

TEST_CASE("the coding-rate loss beside an embedding of zeros: a number with finite gradients") {
  for (const DType dtype : {DType::float32, DType::float64}) {
    CAPTURE(name(dtype));
    const Tensor embeddings = random_embeddings({8, 4}, 1).to(dtype);
    embeddings.slice(0, 1).fill(0);
    const Variable z(embeddings, true);
    const CodingRateLoss loss = coding_rate_loss(z, 2);
    CHECK(std::isfinite(value(loss.total)));
    loss.total.backward();
    CHECK(all_finite(z.grad()));
  }
}

TEST_CASE("the coding-rate loss refuses what it cannot use") {
  CHECK_THROWS_AS(coding_rate_loss(Variable(zeros({8, 8})), 1), Error);
  CHECK_THROWS_AS(coding_rate_loss(Variable(zeros({8, 8})), 5), Error);
  for (const double eps : {-1.0, 0.0, std::nan(""), HUGE_VAL}) {
    CHECK_THROWS_AS(coding_rate_loss(Variable(ones({8, 8})), 2, {.eps = eps}), Error);
  }
}

TEST_CASE("cross entropy: values and gradients") {
  const Tensor logits = device_vector<double>({1, 2, 3, 0, 0, 0}, {2, 3});
  const Tensor labels = device_vector<std::int64_t>({2, 0}, {2});
  const double first = std::log(std::exp(1 - 3.0) + std::exp(2 - 3.0) + 1);  // log sum exp - 3
  CHECK(value(cross_entropy(Variable(logits), labels)) == near((first + std::log(3.0)) / 2, 1e-15));
  // Smoothing adds s times the mean over classes of (logit of the label - logit).
  CHECK(value(cross_entropy(Variable(logits), labels, {.label_smoothing = 0.3})) ==
        near((first + 0.3 * (3 - 2) + std::log(3.0)) / 2, 1e-15));
  for (const double smoothing : {0.0, 0.1, 1.0}) {
    const auto result = gradcheck(
        [&](const std::vector<Variable>& x) {
          return cross_entropy(x[0], labels, {.label_smoothing = smoothing});
        },
        {logits});
    CHECK_MESSAGE(result, result.message);
  }
  const Tensor huge = device_vector<float>({1000, -1000}, {1, 2});
  CHECK(value(cross_entropy(Variable(huge), from_vector<std::int64_t>({1}, {1}))) == 2000);
}

TEST_CASE("cross entropy of more rows than one thread takes at a time") {
  Generator generator(5);
  const std::int64_t rows = 500, classes = 9;
  const Tensor values = normal({rows, classes}, 0, 2, generator, float64());
  std::vector<std::int64_t> classes_of_rows;
  for (std::int64_t i = 0; i < rows; ++i) classes_of_rows.push_back(i * 7 % classes);
  const Tensor labels = device_vector<std::int64_t>(classes_of_rows, {rows});
  Variable logits(values, true), plain(values.clone(), true);
  const Variable losses = softmax_cross_entropy(logits, labels);
  const Variable expected =
      sum(log_softmax(plain) * Variable(one_hot(labels, classes, DType::float64)), {1}) * -1.0;
  CHECK(relative_error(losses.value(), expected.value()) < 1e-14);
  const Tensor dlosses = normal({rows}, 0, 1, generator, float64());
  losses.backward(dlosses);
  expected.backward(dlosses);
  CHECK(relative_error(logits.grad(), plain.grad()) < 1e-14);
}

TEST_CASE("cross entropy refuses bad labels") {
  const Variable logits(zeros({2, 3}, device_options()));
  CHECK_THROWS_WITH_AS(
      cross_entropy(logits, zeros({3}, {DType::int64})),
      "[softmax_cross_entropy] logits must be [N, classes] and labels [N]; got [2, 3] and "
      "[3]",
      Error);
  CHECK_THROWS_AS(cross_entropy(logits, zeros({2})), Error);
  CHECK_THROWS_AS(cross_entropy(logits, from_vector<std::int64_t>({0, 3}, {2})), Error);
  CHECK_THROWS_AS(cross_entropy(logits, from_vector<std::int64_t>({0, -1}, {2})), Error);
  CHECK_THROWS_AS(cross_entropy(Variable(zeros({0, 3})), zeros({0}, {DType::int64})), Error);
  CHECK_THROWS_AS(cross_entropy(logits, zeros({2}, {DType::int64}), {.label_smoothing = 1.5}),
                  Error);
}

TEST_CASE("mean squared error") {
  const auto a = device_vector<double>({1, 2, 3, 4}, {2, 2});
  const auto b = device_vector<double>({0, 2, 5, 4}, {2, 2});
  CHECK(value(mse_loss(Variable(a), Variable(b))) == near(5.0 / 4, 1e-15));
  const auto result =
      gradcheck([](const std::vector<Variable>& x) { return mse_loss(x[0], x[1]); }, {a, b});
  CHECK_MESSAGE(result, result.message);
  CHECK_THROWS_AS(mse_loss(Variable(a), Variable(zeros({2}, float64()))), Error);
  CHECK_THROWS_WITH_AS(mse_loss(Variable(zeros({0, 2})), Variable(zeros({0, 2}))),
                       "[mse_loss] the batch is empty; got prediction [0, 2]", Error);
}

TEST_CASE("top-k counts, with ties and NaN") {
  const Tensor logits = device_vector<float>({3, 2, 1,  //
                                              1, 1, 1,  //
                                              0, NAN, 5, NAN, 1, 2},
                                             {4, 3});
  const auto count = [&](std::int64_t label, std::int64_t k) {
    return count_top_k(logits, from_vector<std::int64_t>({label, label, label, label}, {4}), k);
  };
  CHECK(count(0, 1) == 2);  // rows 0 and 1; in row 3 the label's own logit is NaN
  CHECK(count(1, 1) == 0);
  CHECK(count(1, 2) == 2);  // rows 0 and 1: a tie ranks by index
  CHECK(count(2, 2) == 2);  // rows 2 (after NaN) and 3 (after NaN)
  CHECK(count(2, 3) == 4);
  CHECK(count_top_k(zeros({0, 3}), zeros({0}, {DType::int64})) == 0);
  CHECK_THROWS_AS(count_top_k(logits, from_vector<std::int64_t>({0, 0, 0, 3}, {4})), Error);
  CHECK_THROWS_AS(count(0, 0), Error);
}
