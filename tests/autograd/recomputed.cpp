// recomputed (autograd/checkpoint.h): values that are not kept for backward but computed again.
#include <doctest/doctest.h>

#include <gradus/autograd/checkpoint.h>
#include <gradus/autograd/ops_fused.h>
#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"

using namespace gradus;
using namespace gradus::test;

namespace {

struct Sizes {
  Shape x, weight;
  Conv2dOptions options;
};

/// x, gamma, beta, weight as leaves, or as constants where `needs` says no.
std::vector<Variable> make_inputs(const Sizes& sizes, DType dtype, const std::vector<bool>& needs) {
  const std::int64_t C = sizes.x[-1];
  const Shape shapes[] = {sizes.x, {C}, {C}, sizes.weight};
  std::vector<Variable> inputs;
  for (unsigned i = 0; i < 4; ++i) {
    const DType own = i == 0 ? dtype : compute_dtype(dtype);
    inputs.emplace_back(random_tensor<double>(shapes[i], 7 + i).to(own), needs[i]);
  }
  return inputs;
}

using Inputs = std::vector<Variable>;
using Call = Variable (*)(const CheckpointedFunction&, const Inputs&);

Variable plain(const CheckpointedFunction& function, const Inputs& inputs) {
  return function(inputs);
}

/// square(conv2d(relu(batch_norm(x)))), of which `call` calls the norm and the convolution.
Variable network(const Inputs& in, const Conv2dOptions& options, Call call) {
  const BatchStatistics statistics = batch_norm_statistics(in[0].value());
  const Variable y =
      call([=](const Inputs& v) { return batch_norm_relu(v[0], statistics, v[1], v[2]); },
           {in[0], in[1], in[2]});
  return square(call([=](const Inputs& v) { return conv2d(v[0], v[1], {}, options); }, {y, in[3]}));
}

/// Values and gradients have the same bits as without recomputation.
void compare_ways(const Sizes& sizes, DType dtype,
                  const std::vector<bool>& needs = {true, true, true, true}) {
  CAPTURE(to_string(sizes.x));
  CAPTURE(name(dtype));
  const auto a = make_inputs(sizes, dtype, needs), b = make_inputs(sizes, dtype, needs);
  const Variable expected = network(a, sizes.options, plain),
                 actual = network(b, sizes.options, recomputed);
  CHECK(actual.requires_grad() == expected.requires_grad());
  CHECK(same_bits(actual.value(), expected.value()));
  if (!expected.requires_grad()) return;
  const Tensor dy = random_tensor<double>(expected.shape(), 3).to(dtype);
  expected.backward(dy);
  actual.backward(dy);
  for (std::size_t i = 0; i < a.size(); ++i) {
    CAPTURE(i);
    if (needs[i]) CHECK(same_bits(b[i].grad(), a[i].grad()));
  }
}

std::size_t in_use() { return memory_stats(test_device()).in_use; }

Variable leaf(const Shape& shape) { return Variable(random_tensor<float>(shape, 1), true); }

}  // namespace

TEST_CASE("what is recomputed has the bits of what is kept") {
  const Sizes winograd{{8, 8, 8, 64}, {64, 3, 3, 64}, {.padding = 1}};
  if (test_device() == Device::cpu) {
    const auto in = make_inputs(winograd, DType::float32, {false, false, false, false});
    const auto convolved = [&](bool fast) {
      return conv2d(in[0], in[3], {}, {.padding = 1, .winograd = fast}).value();
    };
    CHECK_FALSE(same_bits(convolved(true), convolved(false)));  // Winograd's algorithm takes it
  }
  for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    compare_ways(winograd, dtype);
    compare_ways({{3, 7, 5, 3}, {5, 3, 3, 3}, {.stride = 2, .padding = 1}}, dtype);
    compare_ways({{1, 2, 1, 1}, {1, 1, 1, 1}, {}}, dtype);
    compare_ways({{2, 4, 4, 6}, {4, 3, 3, 3}, {.padding = 1, .groups = 2}}, dtype);
  }
}

TEST_CASE("what is recomputed may depend on constants") {
  for (unsigned mask = 0; mask < 16; ++mask) {
    CAPTURE(mask);
    compare_ways({{2, 5, 4, 3}, {4, 3, 3, 3}, {.padding = 1}}, DType::float64,
                 {(mask & 1) != 0, (mask & 2) != 0, (mask & 4) != 0, (mask & 8) != 0});
  }
}

TEST_CASE("what is recomputed is not kept, nor its inputs after backward") {
  const Sizes sizes{{2, 32, 32, 16}, {16, 3, 3, 16}, {.padding = 1}};
  const auto in = make_inputs(sizes, DType::float32, {true, true, true, true});
  const std::size_t one = in[0].value().bytes(), start = in_use();
  const auto kept = [&](Call call) {
    const Variable y = network(in, sizes.options, call);
    return in_use() - start;
  };
  CHECK(kept(plain) >= 3 * one);
  CHECK(kept(recomputed) >= one);
  CHECK(kept(recomputed) < one + 4096);  // the output and the statistics

  const Variable y = recomputed([](const Inputs& v) { return square(v[0]); }, {in[0] * 2});
  CHECK(in_use() == start + 2 * one);
  y.backward(ones(y.shape(), device_options()));
  CHECK(in_use() == start + 2 * one);  // y and the gradient of x
}

TEST_CASE("each op that needs a value has it computed again, at each backward") {
  const Variable x = leaf({3});
  int calls = 0;
  const auto twice = [&](const Inputs& v) {
    CHECK(recomputing() == (++calls > 1));
    return v[0] * 2;
  };
  const Variable y = recomputed(twice, {x});
  const Variable z = sum(square(y) + exp(y) + y * 3.0 + square(y));
  CHECK(calls == 1);
  z.backward({}, true);
  CHECK(calls == 3);  // only the squares read it
  z.backward();
  CHECK(calls == 5);
  CHECK_ERROR(z.backward(), "freed by an earlier backward");
  const NoGrad no_grad;
  CHECK_FALSE(recomputed([](const Inputs& v) { return v[0] * 2; }, {x}).requires_grad());
}

TEST_CASE("what is recomputed from what is recomputed is kept once") {
  // Each value is an input twice: kept for each by itself, there would be 2^40 of the first.
  Variable y = leaf({1});
  const Tensor x = y.value();
  for (int depth = 0; depth < 40; ++depth)
    y = recomputed([](const Inputs& in) { return in[0] * 0.5 + in[1] * 0.5; }, {y, y});
  CHECK(same_bits(y.value(), x));
}

TEST_CASE("a checkpoint's first call takes a recomputed input's value as it stands") {
  const Variable x = leaf({3});
  int calls = 0;
  const auto counted = [&](const Inputs& v) {
    ++calls;
    return v[0] * 2;
  };
  const auto squared = [](const Inputs& v) { return square(v[0]); };
  const Variable y = sum(checkpoint(squared, {recomputed(counted, {x})}));
  CHECK(calls == 1);
  y.backward();
  CHECK(calls == 2);
  CHECK(same_bits(x.grad(), x.value() * 8));
}

TEST_CASE("what is recomputed draws the same numbers") {
  const auto run = [](Call call) {
    Generator generator(5);
    const Variable x = leaf({40, 50});
    const Variable y = call([&](const Inputs& v) { return dropout(v[0], 0.5, generator); }, {x});
    const Variable z = square(dropout(y, 0.25, generator)) + square(y);
    const std::uint64_t after_forward = generator.position();
    sum(z).backward();
    CHECK(generator.position() == after_forward);
    return std::vector<Tensor>{z.value(), x.grad()};
  };
  const auto actual = run(recomputed), expected = run(plain);
  for (std::size_t i = 0; i < 2; ++i) CHECK(same_bits(actual[i], expected[i]));
}

TEST_CASE("what is recomputed and changed in place in between is an error") {
  Variable x = leaf({3}), factor(random_tensor<float>({3}, 2));
  const auto scaled = [&factor](const Inputs& v) { return v[0] * factor; };
  const Variable of_captured = sum(square(recomputed(scaled, {exp(x)})));
  factor.value().fill(1);
  CHECK_ERROR(of_captured.backward(), "a checkpointed function read was changed in place");

  Variable input = x * 2;
  const Variable of_input = sum(square(recomputed(scaled, {input})));
  input.value().fill(1);
  CHECK_ERROR(of_input.backward(), "was changed in place");

  Variable y = recomputed(scaled, {x});
  y.value().fill(1);  // not what will be computed again
  CHECK_ERROR(sum(square(y)).backward(), "was changed in place");

  Variable unread = recomputed(scaled, {x});
  const Variable of_unread = sum(square(unread));
  unread.value().fill(1);
  of_unread.backward();  // reads the value as it was
  CHECK(same_bits(x.grad(), x.value() * 2));
}

TEST_CASE("what a function returns of its inputs, or of leaves, is not computed again") {
  Variable x = leaf({3});
  const auto check_usable = [](const Variable& y, Variable& changed) {
    sum(square(y)).backward();
    changed.value().fill(2);  // as an optimiser does
    changed.zero_grad();
    sum(square(changed)).backward();
    CHECK(same_bits(changed.grad(), changed.value() * 2));
  };
  check_usable(recomputed([](const Inputs& v) { return cast(v[0], DType::float32); }, {x}), x);
  Variable other = leaf({3});
  check_usable(recomputed([&](const Inputs&) { return other; }, {x}), other);
  const Variable between = x * 2;
  recomputed([](const Inputs& v) { return v[0]; }, {between});
  CHECK_FALSE(between.node()->recompute);
}

TEST_CASE("a function that gives something else the second time is an error") {
  const Variable x = leaf({3});
  int calls = 0;
  const auto other_shape = [&](const Inputs& v) {
    return ++calls == 1 ? v[0] * 2 : concat({v[0], v[0]});
  };
  CHECK_ERROR(sum(square(recomputed(other_shape, {x}))).backward(),
              "[checkpoint] the function gave another result the second time: shape [6] after [3]");
  CHECK_FALSE(x.grad().defined());
}
