#include <gradus/autograd/checkpoint.h>

#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <utility>

#include <gradus/autograd/ops.h>
#include <gradus/nn/dropout.h>
#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"

using namespace gradus;
using namespace gradus::test;

namespace {

Variable leaf(const Shape& shape, unsigned seed) {
  return Variable(random_tensor<float>(shape, seed), true);
}

std::size_t in_use() { return memory_stats(test_device()).in_use; }

/// Value and gradients of run(a, w) for fresh leaves a [4, 5] and w [5, 5].
using Run = std::function<Variable(const Variable& a, const Variable& w)>;
std::vector<Tensor> results(const Run& run) {
  const Variable a = leaf({4, 5}, 1), w = leaf({5, 5}, 2);
  const Variable y = run(a, w);
  y.backward(random_tensor<float>(y.shape(), 3));
  return {y.value(), a.grad(), w.grad()};
}

void check_same(const std::vector<Tensor>& actual, const std::vector<Tensor>& expected) {
  REQUIRE(actual.size() == expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    CAPTURE(i);
    REQUIRE(actual[i].defined() == expected[i].defined());
    if (actual[i].defined()) CHECK(same_bits(actual[i], expected[i]));
  }
}

}  // namespace

TEST_CASE("a checkpointed function has the bits of a plain call") {
  const auto inside = [](const Variable& x, const Variable& w) {
    return gelu(matmul(tanh(matmul(x, w)), w)) + x;
  };
  const auto plain =
      results([&](const Variable& a, const Variable& w) { return square(inside(exp(a), w)); });
  int calls = 0;
  check_same(results([&](const Variable& a, const Variable& w) {
               return square(checkpoint(
                   [&, w](const std::vector<Variable>& in) {
                     CHECK(grad_enabled());
                     CHECK(recomputing() == (++calls == 2));
                     return inside(in[0], w);  // w is captured
                   },
                   {exp(a)}));
             }),
             plain);
  CHECK(calls == 2);
  CHECK_FALSE(recomputing());
  check_same(results([&](const Variable& a, const Variable& w) {
               return square(
                   checkpoint([&](const auto& in) { return inside(in[0], in[1]); }, {exp(a), w}));
             }),
             plain);
}

TEST_CASE("checkpoints within checkpoints, and one after another") {
  const auto layer = [](const Variable& x, const Variable& w) { return tanh(matmul(x, w)) + x; };
  const auto plain = results(
      [&](const Variable& a, const Variable& w) { return layer(layer(layer(a, w), w), w); });
  const auto checkpointed = [&](const Variable& x, const Variable& w) {
    return checkpoint([=](const auto& in) { return layer(in[0], w); }, {x});
  };
  check_same(results([&](const Variable& a, const Variable& w) {
               return checkpointed(checkpointed(checkpointed(a, w), w), w);
             }),
             plain);
  check_same(
      results([&](const Variable& a, const Variable& w) {
        return checkpoint(
            [=](const auto& in) {
              return checkpointed(
                  checkpoint([=](const auto& inner) { return checkpointed(layer(inner[0], w), w); },
                             {in[0]}),
                  w);
            },
            {a});
      }),
      plain);
}

TEST_CASE("a checkpoint keeps its inputs only, until backward") {
  const Shape shape{64, 1024};
  const Variable x(ones(shape, device_options()), true);
  const auto chain = [](const Variable& v) {
    Variable y = v;
    for (int i = 0; i < 8; ++i) y = tanh(y);  // each keeps its result
    return y;
  };
  const std::size_t start = in_use(), one = x.value().bytes();
  Variable y = chain(x);
  CHECK(in_use() >= start + 8 * one);
  y = Variable();
  y = checkpoint([&](const auto& in) { return chain(in[0]); }, {x});
  CHECK(in_use() >= start + one);
  CHECK(in_use() < start + one + 1024);
  y.backward(ones(shape, device_options()));
  y = Variable();
  CHECK(in_use() == start + one);  // the gradient of x
}

TEST_CASE("dropout in a checkpoint draws the same numbers the second time") {
  const auto run = [](bool checkpointed) {
    Generator generator(5);
    const Variable x = leaf({40, 50}, 1);
    const auto body = [&](const std::vector<Variable>& in) {
      return dropout(in[0] * 2, 0.5, generator);
    };
    const Variable y = checkpointed ? checkpoint(body, {x}) : body({x});
    const Variable z = dropout(y, 0.25, generator);
    const std::uint64_t after_forward = generator.position();
    sum(z).backward();
    CHECK(generator.position() == after_forward);
    return std::vector<Tensor>{z.value(), x.grad()};
  };
  const auto expected = run(false);
  check_same(run(true), expected);
  CHECK(max_abs(expected[1]) > 0);
}

TEST_CASE("a checkpoint whose inputs need no gradient still gives it to parameters") {
  const Variable x(random_tensor<float>({4, 5}, 1)), w = leaf({5, 5}, 2);
  const Variable y = checkpoint([&](const auto& in) { return matmul(in[0], w); }, {x});
  CHECK(y.requires_grad());
  sum(y).backward();
  const Tensor expected = matmul(x.value(), ones({4, 5}, device_options()), {.transpose_a = true});
  CHECK(same_bits(w.grad(), expected));
}

TEST_CASE("a checkpoint without anything to train is a constant; without a graph a plain call") {
  const Variable x(ones({2}, device_options()));
  int calls = 0;
  const auto count = [&](const std::vector<Variable>& in) {
    ++calls;
    return in[0] * 3;
  };
  CHECK_FALSE(checkpoint(count, {x}).requires_grad());
  const Variable needing = leaf({2}, 1);
  {
    const NoGrad no_grad;
    CHECK_FALSE(checkpoint(count, {needing}).requires_grad());
  }
  CHECK(calls == 2);
  // The function may return an input, and leave out another or an undefined one.
  const Variable unused = leaf({3}, 2);
  const Variable y =
      checkpoint([](const auto& in) { return in[0]; }, {needing, unused, Variable()});
  sum(y * y).backward();
  CHECK(same_bits(needing.grad(), needing.value() * 2));
  CHECK_FALSE(unused.grad().defined());
}

TEST_CASE("retain_graph: a checkpoint's backward may run again") {
  const Variable x = leaf({3}, 1);
  const Variable y = sum(checkpoint([](const auto& in) { return square(in[0]); }, {x}));
  y.backward({}, true);
  y.backward();
  CHECK(same_bits(x.grad(), x.value() * 4));
  CHECK_ERROR(y.backward(), "freed by an earlier backward");
}

TEST_CASE("errors of a checkpointed function") {
  const Variable x = leaf({3}, 1);
  int calls = 0;
  Generator generator(1);
  const auto fails_later = [&](const std::vector<Variable>& in) {
    const Variable y = dropout(in[0], 0.5, generator);
    check(++calls < 2, "inside", "no");
    return y;
  };
  const Variable y = checkpoint(fails_later, {x});
  const std::uint64_t position = generator.position();
  CHECK_ERROR(sum(y).backward(), "[inside] no");
  CHECK_FALSE(recomputing());
  CHECK(grad_enabled());
  CHECK(generator.position() == position);

  calls = 0;
  const auto other_shape = [&](const std::vector<Variable>& in) {
    return ++calls == 1 ? in[0] * 2 : concat({in[0], in[0]});
  };
  CHECK_ERROR(sum(checkpoint(other_shape, {x})).backward(),
              "[checkpoint] the function gave another result the second time: shape [6] after [3]");

  calls = 0;
  const auto constant = [&](const std::vector<Variable>& in) {
    return ++calls == 1 ? in[0] * 2 : in[0].detach();
  };
  CHECK_ERROR(
      sum(checkpoint(constant, {x})).backward(),
      "[checkpoint] the second time the function's result depends on nothing that requires");

  const Variable outside = square(x);
  const auto captures = [&](const std::vector<Variable>& in) { return in[0] * outside; };
  CHECK_ERROR(sum(exp(outside) + checkpoint(captures, {x})).backward(), "must be an input of it");
  const Variable again = square(x);
  const auto captures_again = [&](const std::vector<Variable>& in) { return in[0] * again; };
  CHECK_ERROR(sum(checkpoint(captures_again, {x}) + exp(again)).backward(), "freed by an earlier");
}

TEST_CASE("EnableGrad records a graph within NoGrad") {
  const Variable x = leaf({1}, 1);
  const NoGrad outer;
  {
    const EnableGrad enable;
    CHECK(square(x).requires_grad());
    const NoGrad inner;
    CHECK_FALSE(square(x).requires_grad());
  }
  CHECK_FALSE(square(x).requires_grad());
}

TEST_CASE("a checkpoint draws what it drew, whoever holds the generator") {
  const auto value_and_gradient = [](const Variable& x, const Variable& y) {
    sum(y * y).backward();
    return std::vector<Tensor>{y.value(), x.grad()};
  };
  const auto compare = [&](const std::function<CheckpointedFunction()>& make) {
    const Variable a = leaf({40, 50}, 1), b = leaf({40, 50}, 1);
    const auto plain = make(), checkpointed = make();
    check_same(value_and_gradient(a, checkpoint(checkpointed, {a})),
               value_and_gradient(b, plain({b})));
  };
  SUBCASE("one that moves on before backward") {
    Generator kept(5), again(5);
    const Variable a = leaf({40, 50}, 1), b = leaf({40, 50}, 1);
    const Variable y = checkpoint([&](const auto& in) { return dropout(in[0], 0.5, kept); }, {a});
    (void)dropout(y, 0.5, kept);
    check_same(value_and_gradient(a, y), value_and_gradient(b, dropout(b, 0.5, again)));
  }
  SUBCASE("one that is made in the function") {
    compare([]() -> CheckpointedFunction {
      return [](const std::vector<Variable>& in) {
        Generator own(7);
        return dropout(dropout(in[0], 0.5, own), 0.5, own);
      };
    });
  }
  SUBCASE("a layer's own") {
    compare([]() -> CheckpointedFunction {
      Generator generator(3);
      auto layer = std::make_shared<nn::Dropout>(nn::Dropout::Options{.p = 0.5}, generator);
      return [layer](const std::vector<Variable>& in) { return (*layer)(in[0]) * 2; };
    });
  }
  SUBCASE("checkpoints within checkpoints") {
    compare([]() -> CheckpointedFunction {
      auto generator = std::make_shared<Generator>(9);
      return [generator](const std::vector<Variable>& in) {
        const auto inside = [generator](const std::vector<Variable>& x) {
          return dropout(tanh(x[0]), 0.25, *generator);
        };
        return dropout(checkpoint(inside, {dropout(in[0], 0.25, *generator)}), 0.25, *generator);
      };
    });
  }
}

TEST_CASE("a checkpoint that draws otherwise the second time is an error") {
  const Variable x = leaf({8}, 1);
  Generator generator(1);
  int calls = 0;
  const auto more_later = [&](const std::vector<Variable>& in) {
    const Variable y = dropout(in[0], 0.5, generator);
    return ++calls == 1 ? y : dropout(y, 0.5, generator);
  };
  CHECK_ERROR(sum(checkpoint(more_later, {x})).backward(),
              "[random] the second run draws more random numbers than the first");
  bool first = true;
  const auto none_later = [&](const std::vector<Variable>& in) {
    return std::exchange(first, false) ? dropout(in[0], 0.5, generator) : in[0] * 2;
  };
  CHECK_ERROR(sum(checkpoint(none_later, {x})).backward(),
              "[random] the second run drew fewer random numbers than the first");
  first = true;
  const auto other_later = [&](const std::vector<Variable>& in) {
    Generator other(std::exchange(first, false) ? 1 : 2);
    return dropout(in[0], 0.5, other);
  };
  CHECK_ERROR(sum(checkpoint(other_later, {x})).backward(),
              "[random] the second run draws other random numbers than the first");
  const std::uint64_t position = generator.position();
  (void)dropout(x, 0.5, generator);  // nothing is left in force
  CHECK(generator.position() == position + 4);
}
