// Gradients on their way between members while backward goes on.
#include <gradus/autograd/collectives.h>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <gradus/autograd/checkpoint.h>
#include <gradus/autograd/ops.h>
#include <gradus/tensor/check.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"
#include "tests/support/thread_processes.h"

using namespace gradus;
using namespace gradus::test;

namespace {

Variable leaf(const Shape& shape, unsigned seed) {
  return Variable(random_tensor<float>(shape, seed), true);
}

}  // namespace

TEST_CASE("a leaf is told once, when its gradient is complete, in the order of the graph") {
  const Variable a = leaf({3}, 1), b = leaf({3}, 2), c = leaf({3}, 3), unused = leaf({3}, 4);
  const auto layer = [](const Variable& x, const Variable& w) { return tanh(x * w) + x; };
  const auto checkpointed = [&](const Variable& x, const Variable& w) {
    return checkpoint([=](const std::vector<Variable>& in) { return layer(in[0], w); }, {x});
  };
  // b's last use, on the way back, is the inner of two layers; where those are computed again, the
  // walk meets it as what they captured. Nothing is told of the graphs within.
  for (const bool again : {false, true}) {
    CAPTURE(again);
    const auto apply = [&](const Variable& x, const Variable& w) {
      return again ? checkpointed(x, w) : layer(x, w);
    };
    const Variable hidden = apply(apply(a * a, b), c);
    const Variable y =
        sum(again ? checkpoint([&](const auto& in) { return checkpointed(in[0], b); }, {hidden})
                  : layer(hidden, b));
    for (const Variable* x : {&a, &b, &c}) Variable(*x).zero_grad();
    y.backward({}, true);
    const std::vector<Tensor> expected{c.grad(), b.grad(), a.grad()};
    for (const Variable* x : {&a, &b, &c}) Variable(*x).zero_grad();
    std::vector<const Node*> told;
    std::vector<Tensor> gradients;
    y.backward({}, false, [&](const std::shared_ptr<Node>& node) {
      told.push_back(node.get());
      gradients.push_back(node->gradient.clone());
    });
    CHECK(told == std::vector<const Node*>{c.node().get(), b.node().get(), a.node().get()});
    REQUIRE(gradients.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) CHECK(same_bits(gradients[i], expected[i]));
  }
  int calls = 0;
  a.backward(ones({3}, device_options()), false, [&](const auto& node) {
    ++calls;
    CHECK(node == a.node());
  });
  CHECK(calls == 1);
}

TEST_CASE("an exception of who is told of leaves leaves the gradients as they were") {
  const Variable x = leaf({3}, 1);
  const auto refuse = [](const std::shared_ptr<Node>& node) {
    node->gradient = Tensor();
    fail("test", "refused");
  };
  CHECK_THROWS_AS(sum(x * 2).backward({}, false, refuse), Error);
  CHECK_FALSE(x.grad().defined());
  sum(x * 2).backward();
  const Tensor before = x.grad().clone();
  CHECK_THROWS_AS(sum(x * 2).backward({}, false, refuse), Error);
  CHECK(same_bits(x.grad(), before));
}

TEST_SUITE_BEGIN("communicator" * cpu_only());

TEST_CASE("gradients are sent before backward has ended") {
  const auto of_member = [](int rank) { return full({}, rank + 1.0); };
  Mail mail(2);
  std::atomic<int>& sent = mail.sent[static_cast<std::size_t>(Channel::background)];
  std::atomic<int> in_time = 0, right = 0;
  run_group(2, 1, mail, [&](Communicator& communicator) {
    const int rank = communicator.rank();
    Variable first(of_member(rank), true);              // its gradient is complete at the end
    Variable large(full({1 << 20}, rank + 3.0), true);  // fills a bucket
    // Its backward, which runs when the gradient of `large` is complete, waits for a message.
    const Variable waiting =
        make_variable("waiting", first.value(), {&first}, [&](const Tensor& dy) {
          const auto begin = std::chrono::steady_clock::now();
          while (sent == 0 && std::chrono::steady_clock::now() - begin < std::chrono::seconds(30))
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          in_time += sent > 0;
          return std::vector<Tensor>{dy};
        });
    backward_of_mean(sum(large * waiting), communicator);
    // d/dlarge = first: 1 and 2; d/dfirst = the sum of large: 3 and 4, 2^20 times.
    const Tensor gradient = large.grad();
    right +=
        same_bits(gradient, full({1 << 20}, 1.5)) && first.grad().item<float>() == 3.5f * 0x1p20f;
  });
  CHECK(in_time == 2);
  CHECK(right == 2);
}

TEST_CASE("gradients of several types are averaged") {
  std::atomic<int> right = 0;
  run_members(2, nullptr, [&](Communicator& communicator) {
    const double mine = communicator.rank() + 1;
    const Variable a(full({3}, mine), true), b(full({2}, mine, {DType::float64}), true);
    backward_of_mean(sum(square(a)) + cast(sum(square(b)), DType::float32), communicator);
    right +=
        same_bits(a.grad(), full({3}, 3)) && same_bits(b.grad(), full({2}, 3, {DType::float64}));
  });
  CHECK(right == 2);
}

TEST_CASE("gradients of a type that is not averaged are refused, and none are changed") {
  run_members(1, nullptr, [](Communicator& communicator) {
    const Variable a(ones({3}), true), b(ones({2}, {DType::bfloat16}), true);
    CHECK_ERROR(backward_of_mean(sum(a) + cast(sum(b), DType::float32), communicator),
                "[backward_of_mean] parameters must be float32 or float64; got bfloat16");
    CHECK_FALSE(a.grad().defined());
    CHECK_FALSE(b.grad().defined());
  });
}

TEST_SUITE_END();
