// What closures keep alive: only what backward reads.
#include <doctest/doctest.h>

#include <gradus/autograd/ops_fused.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"

using namespace gradus;
using namespace gradus::test;

namespace {

/// A leaf or a constant whose value nobody else holds, so that value().unique() tells whether an
/// op kept it.
Variable make(const Shape& shape, bool requires_grad) {
  return Variable(full(shape, 0.5, device_options()), requires_grad);
}

}  // namespace

TEST_CASE("conv2d keeps the input for the weight's gradient only, and the reverse") {
  for (const bool input_grad : {false, true}) {
    for (const bool weight_grad : {false, true}) {
      CAPTURE(input_grad);
      CAPTURE(weight_grad);
      const Variable x = make({2, 5, 5, 3}, input_grad), w = make({4, 3, 3, 3}, weight_grad);
      const Variable b = make({4}, true);
      const Variable y = conv2d(x, w, b, {.padding = 1});
      CHECK(x.value().unique() == !weight_grad);
      CHECK(w.value().unique() == !input_grad);
      CHECK(b.value().unique());
      sum(y).backward();
      CHECK(x.value().unique());
      CHECK(w.value().unique());
      const Tensor dy = ones(y.shape(), device_options());
      CHECK(same_bits(b.grad(), full({4}, 50)));
      if (input_grad) {
        CHECK(same_bits(x.grad(), conv2d_backward_input(dy, w.value(), x.shape(), {.padding = 1})));
      }
      if (weight_grad) {
        CHECK(
            same_bits(w.grad(), conv2d_backward_weight(dy, x.value(), w.shape(), {.padding = 1})));
      }
    }
  }
}

TEST_CASE("pooling keeps no input, softmax its output only") {
  const Variable x = make({2, 4, 4, 3}, true);
  const Variable pooled = max_pool2d(x, {}), averaged = avg_pool2d(x, {}),
                 mean = global_avg_pool2d(x);
  const Variable y = softmax(x), log_y = log_softmax(x);
  CHECK(x.value().unique());
  CHECK(pooled.value().unique());
  CHECK(averaged.value().unique());
  CHECK(mean.value().unique());
  CHECK(!y.value().unique());
  CHECK(!log_y.value().unique());
}

TEST_CASE("batch norm keeps its input and not its output; evaluation treats statistics as given") {
  const Variable x = make({6, 3}, true), gamma = make({3}, true), beta = make({3}, true);
  const BatchStatistics statistics = batch_norm_statistics(x.value());
  const Variable y = batch_norm(x, statistics, gamma, beta);
  CHECK(same_bits(statistics.mean, full({3}, 0.5)));
  CHECK(same_bits(statistics.variance, zeros({3})));
  CHECK(y.value().unique());
  CHECK(!x.value().unique());
  const Variable rectified = batch_norm_relu(x, statistics, gamma, beta);
  CHECK(rectified.value().unique());  // its sign is computed from x again

  const BatchStatistics given{zeros({3}, device_options()), full({3}, 4, device_options())};
  sum(batch_norm(x, given, gamma, beta, {.eps = 0, .training = false})).backward();
  CHECK(same_bits(x.grad(), full({6, 3}, 0.25)));       // gamma / sqrt(variance)
  CHECK(same_bits(gamma.grad(), full({3}, 6 * 0.25)));  // sum of (x - mean) / sqrt(variance)
  CHECK(same_bits(beta.grad(), full({3}, 6)));

  const Variable residual = make({6, 3}, true);
  const Variable fused = batch_norm_relu(x, statistics, gamma, beta, {}, residual);
  CHECK(!fused.value().unique());  // its sign is the ReLU's gradient
  CHECK(residual.value().unique());
}

TEST_CASE("without gradients nothing is kept") {
  const Variable x = make({2, 5, 5, 3}, true), w = make({4, 3, 3, 3}, true);
  const NoGrad no_grad;
  const Variable y = softmax(conv2d(x, w));
  CHECK(!y.requires_grad());
  CHECK(x.value().unique());
  CHECK(w.value().unique());
  CHECK(y.value().unique());
}
