// What members of a group compute from their parts of a batch is what one computes from all of it.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include <gradus/autograd/collectives.h>
#include <gradus/autograd/ops.h>
#include <gradus/nn/coding_rate_loss.h>
#include <gradus/nn/fused.h>
#include <gradus/nn/vicreg_loss.h>
#include <gradus/nn/vicreg_model.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/silent_partner.h"

using namespace gradus;
using namespace gradus::test;

namespace {

/// Of each member, what `body` gives.
template <class Result>
std::vector<Result> in_group(int size, const std::function<Result(Communicator&)>& body) {
  std::vector<Result> results(static_cast<std::size_t>(size));
  run_members(size, nullptr, [&](Communicator& communicator) {
    omp_set_num_threads(1);
    results[static_cast<std::size_t>(communicator.rank())] = body(communicator);
  });
  return results;
}

/// Member `rank`'s part of x [views N, ...], of `size` equal ones of each view.
Tensor part_of(const Tensor& x, std::int64_t views, int rank, int size) {
  const std::int64_t n = x.size(0) / views, part = n / size;
  std::vector<Tensor> each;
  for (std::int64_t v = 0; v < views; ++v)
    each.push_back(x.slice(v * n + rank * part, v * n + (rank + 1) * part));
  return concat(each);
}

Tensor random(const Shape& shape, std::uint64_t seed) {
  Generator generator(seed);
  return normal(shape, 0.3, 1, generator, {DType::float64});
}

/// What a group's members have in common, by a loss of each member's own that weighs all parts.
Variable weighted(const Variable& all, int rank) {  // all [size, 3]
  return sum(square(all) * Variable(random(all.shape(), 10 + static_cast<std::uint64_t>(rank))));
}

}  // namespace

TEST_SUITE_BEGIN("batch parts" * cpu_only());

TEST_CASE("gradients of collective operations are sums over the members' losses") {
  constexpr int size = 4;
  const Tensor whole = random({size, 3}, 1);
  Variable all(whole, true);
  Variable losses = weighted(all, 0);
  for (int rank = 1; rank < size; ++rank) losses = losses + weighted(all, rank);
  losses.backward();
  const auto gathered = in_group<Tensor>(size, [&](Communicator& communicator) {
    const int rank = communicator.rank();
    Variable own(whole.slice(rank, rank + 1).reshape({3}).clone(), true);
    weighted(all_gather(own, communicator, Downstream::any), rank).backward();
    return own.grad();
  });
  for (int rank = 0; rank < size; ++rank) {
    const Tensor expected = all.grad().slice(rank, rank + 1).reshape({3});
    CHECK(relative_error(gathered[static_cast<std::size_t>(rank)], expected) < 1e-14);
  }

  all.zero_grad();
  const auto of_sum = [](const Variable& total, int rank) {  // total [1, 3]
    return weighted(total, rank);
  };
  losses = of_sum(sum(all, {0}, true), 0);
  for (int rank = 1; rank < size; ++rank) losses = losses + of_sum(sum(all, {0}, true), rank);
  losses.backward();
  const auto reduced = in_group<Tensor>(size, [&](Communicator& communicator) {
    const int rank = communicator.rank();
    Variable own(whole.slice(rank, rank + 1).clone(), true);
    of_sum(all_reduce(own, communicator, Downstream::any), rank).backward();
    return own.grad();
  });
  for (int rank = 0; rank < size; ++rank)
    CHECK(relative_error(reduced[static_cast<std::size_t>(rank)],
                         all.grad().slice(rank, rank + 1)) < 1e-14);
}

TEST_CASE("where all compute the same from the result, nothing is sent and no bit differs") {
  const Tensor whole = random({4, 3}, 1);
  for (const bool gather : {false, true}) {
    const auto gradient = [&](Downstream downstream) {
      return in_group<Tensor>(4, [&](Communicator& communicator) {
        const int rank = communicator.rank();
        Variable own(whole.slice(rank, rank + 1).clone(), true);
        const Variable shared = gather ? all_gather(own, communicator, downstream)
                                       : all_reduce(own, communicator, downstream);
        sum(square(shared) * shared).backward();
        return own.grad();
      });
    };
    const auto sent = gradient(Downstream::any), not_sent = gradient(Downstream::same);
    for (std::size_t rank = 0; rank < 4; ++rank) CHECK(same_bits(sent[rank], not_sent[rank]));

    for (const Downstream downstream : {Downstream::any, Downstream::same}) {
      SilentPartner processes;
      run_members(1, &processes, [&](Communicator& communicator) {
        Variable own(whole.clone(), true);
        const Variable shared = gather ? all_gather(own, communicator, downstream)
                                       : all_reduce(own, communicator, downstream);
        const int forward = processes.count;
        sum(square(shared)).backward();
        CHECK((processes.count > forward) == (downstream == Downstream::any));
      });
    }
  }
}

TEST_CASE("the losses of a batch in parts are those of the whole") {
  const auto check_loss = [](std::int64_t images, std::int64_t dimensions, std::int64_t views,
                             const auto& loss) {
    CAPTURE(images);
    CAPTURE(dimensions);
    CAPTURE(views);
    Variable whole(random({views * images, dimensions}, 3), true);
    const Variable expected = loss(whole, views, nullptr);
    expected.backward();
    for (const int size : {2, 4}) {
      const auto gradients = in_group<Tensor>(size, [&](Communicator& communicator) {
        Variable own(part_of(whole.value(), views, communicator.rank(), size), true);
        const Variable total = loss(own, views, &communicator);
        CHECK(relative_error(total.value(), expected.value()) < 1e-12);
        total.backward();
        return affine(own.grad(), 1.0 / size, 0);  // the mean of the members' losses
      });
      for (int rank = 0; rank < size; ++rank)
        CHECK(relative_error(gradients[static_cast<std::size_t>(rank)],
                             part_of(whole.grad(), views, rank, size)) < 1e-12);
    }
  };
  const auto vicreg = [](const Variable& z, std::int64_t views, Communicator* communicator) {
    return nn::vicreg_loss(z, views, {.variance = 3, .covariance = 2}, communicator).total;
  };
  const auto coding_rate = [](const Variable& z, std::int64_t views, Communicator* communicator) {
    return nn::coding_rate_loss(z, views, {.similarity = 2}, communicator).total;
  };
  for (const std::int64_t views : {2, 3}) {
    check_loss(12, 5, views, vicreg);  // more images than dimensions: sums are exchanged
    check_loss(4, 9, views, vicreg);   // embeddings are
    check_loss(12, 5, views, coding_rate);
    check_loss(4, 9, views, coding_rate);
  }
}

namespace {

/// A step's loss, averaged gradients and running statistics.
struct Step {
  Tensor loss;
  std::vector<Tensor> gradients, buffers;
};

Step step_of(const Tensor& images, DType dtype, bool checkpointed, Communicator* communicator) {
  Generator generator(7);
  nn::VICRegModel model(
      {.encoder = {.layers = {1, 1, 1, 1}, .width = 4}, .projector_widths = {12, 10}}, generator);
  model.to(dtype);
  model.encoder.checkpoint_activations(checkpointed);
  nn::share_statistics(model, communicator);
  const Variable z = model(Variable(images.to(dtype)));
  const Variable loss = nn::vicreg_loss(z, 2, {}, communicator).total;
  if (communicator == nullptr)
    loss.backward();
  else
    backward_of_mean(loss, *communicator);
  Step step{.loss = loss.value(), .gradients = {}, .buffers = {}};
  for (const NamedParameter& parameter : model.parameters())
    step.gradients.push_back(parameter.variable->grad());
  for (const nn::NamedTensor& buffer : model.buffers()) step.buffers.push_back(*buffer.tensor);
  return step;
}

/// The largest relative difference of a tensor; but a gradient that is 0, as that of the
/// projector's last bias, is nothing but rounding.
double largest_difference(const std::vector<Tensor>& actual, const std::vector<Tensor>& expected) {
  double all = 0, largest = 0;
  for (const Tensor& x : expected) all = std::max(all, max_abs(x));
  for (std::size_t i = 0; i < expected.size(); ++i)
    largest = std::max(largest, max_difference(actual[i], expected[i]) /
                                    std::max(max_abs(expected[i]), 1e-3 * all));
  return largest;
}

}  // namespace

TEST_CASE("a network's step on a batch in parts is the step on the whole batch") {
  const Tensor images = random({2 * 16, 8, 8, 3}, 5);
  for (const bool checkpointed : {false, true}) {
    const Step exact = step_of(images, DType::float64, checkpointed, nullptr);
    for (const DType dtype : {DType::float64, DType::float32}) {
      CAPTURE(checkpointed);
      CAPTURE(name(dtype));
      const Step whole = step_of(images, dtype, checkpointed, nullptr);
      // In float32 a few ReLUs near 0 decide the other way, so that gradients are 1e-4 off: those
      // of the parts may be no further off than those of the whole, about.
      const bool wide = dtype == DType::float64;
      const double error = largest_difference(whole.gradients, exact.gradients);
      const auto steps = in_group<Step>(4, [&](Communicator& communicator) {
        return step_of(part_of(images, 2, communicator.rank(), 4), dtype, checkpointed,
                       &communicator);
      });
      for (const Step& step : steps) {
        CHECK(relative_error(step.loss, whole.loss) < (wide ? 1e-13 : 1e-6));
        CHECK(largest_difference(step.gradients, exact.gradients) < (wide ? 1e-12 : 2 * error));
        CHECK(largest_difference(step.buffers, whole.buffers) < (wide ? 1e-13 : 1e-6));
        for (std::size_t i = 0; i < step.gradients.size(); ++i)
          CHECK(same_bits(step.gradients[i], steps[0].gradients[i]));
      }
    }
  }
}

TEST_CASE("what layers that run as one compute again in backward, they do not exchange again") {
  const auto exchanges = [](bool fused) {
    std::optional<nn::NoFusion> one_by_one;
    if (!fused) one_by_one.emplace();
    SilentPartner processes;
    run_members(1, &processes, [](Communicator& communicator) {
      step_of(random({2 * 4, 8, 8, 3}, 5), DType::float32, false, &communicator);
    });
    return processes.count.load();
  };
  CHECK(exchanges(false) > 0);
  CHECK(exchanges(true) == exchanges(false));
}

TEST_SUITE_END();
