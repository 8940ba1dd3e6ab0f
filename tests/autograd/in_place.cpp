// Tensors changed in place between forward and backward: backward refuses those that it reads.
#include <doctest/doctest.h>

#include <set>
#include <string>

#include <gradus/autograd/checkpoint.h>
#include <gradus/autograd/ops.h>
#include <gradus/nn/batch_norm.h>
#include <gradus/optim/sgd.h>
#include <gradus/tensor/repeated_work.h>
#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"
#include "tests/support/op_cases.h"

using namespace gradus;
using namespace gradus::test;

namespace {

constexpr const char* changed = "was changed in place";

Variable leaf(double value) {
  return Variable(full({}, value, device_options(DType::float64)), true);
}

/// Gradients of a case after `change` of its inputs and output; nothing if backward refuses.
std::vector<Tensor> gradients_after(
    const OpCase& op_case, const std::function<void(std::vector<Variable>&, Variable&)>& change) {
  std::vector<Variable> inputs;
  for (const Tensor& value : op_case.values()) inputs.emplace_back(on_device(value).clone(), true);
  Variable output = op_case.function(inputs);
  const Tensor weights = on_device(op_case.output_weights(output.shape()));
  change(inputs, output);
  try {
    output.backward(weights);
  } catch (const Error& error) {
    REQUIRE(error.message().find(changed) != std::string::npos);
    return {};
  }
  std::vector<Tensor> gradients;
  for (const Variable& input : inputs) gradients.push_back(input.grad());
  return gradients;
}

}  // namespace

TEST_CASE("a tensor that backward reads was changed in place") {
  Variable w = leaf(3);
  const Variable y = square(w);
  w.value().fill(100);
  CHECK_ERROR(y.backward(),
              "[backward] a float64 tensor of shape [] that the gradient is computed from was "
              "changed in place after the forward pass");
  CHECK_FALSE(w.grad().defined());
  square(w).backward();
  CHECK(w.grad().item<double>() == 200);

  Variable x = leaf(1);
  Variable z = exp(x);  // keeps its result
  z.value().copy_from(full({}, 5, device_options(DType::float64)));
  CHECK_ERROR(z.backward(), changed);
  Variable pair(ones({2, 2}, device_options()), true);
  const Variable s = sum(square(pair));
  pair.value().slice(1, 2).fill(7);  // through a view
  CHECK_ERROR(s.backward(), changed);
}

TEST_CASE("every op refuses changed tensors, or does not read them") {
  const OneOrder once;
  for (const OpCase& op_case : op_cases()) {
    CAPTURE(op_case.name);
    const auto expected = gradients_after(op_case, [](auto&, auto&) {});
    REQUIRE(expected.size() == op_case.inputs.size());
    const auto check_same = [&](const std::vector<Tensor>& gradients) {
      for (std::size_t i = 0; i < gradients.size(); ++i) {
        REQUIRE(gradients[i].defined() == expected[i].defined());
        if (expected[i].defined()) CHECK(same_bits(gradients[i], expected[i]));
      }
    };
    for (std::size_t i = 0; i < op_case.inputs.size(); ++i)
      check_same(gradients_after(op_case, [i](auto& in, auto&) { in[i].value().fill(0.375); }));
    check_same(gradients_after(op_case, [](auto&, auto& output) { output.value().fill(0.375); }));
  }
}

TEST_CASE("inputs and results that no gradient needs may change") {
  const OneOrder once;
  const std::set<std::string> free{"add",     "sub",       "sum",          "reshape", "flatten",
                                   "permute", "transpose", "broadcast_to", "concat",  "slice"};
  std::set<std::string> seen;
  for (const OpCase& op_case : op_cases()) {
    const std::string op = op_case.name.substr(0, op_case.name.find('.'));
    if (!free.contains(op)) continue;
    CAPTURE(op_case.name);
    seen.insert(op);
    for (std::size_t i = 0; i < op_case.inputs.size(); ++i)
      CHECK_FALSE(
          gradients_after(op_case, [i](auto& in, auto&) { in[i].value().fill(0.375); }).empty());
    CHECK_FALSE(
        gradients_after(op_case, [](auto&, auto& output) { output.value().fill(0.375); }).empty());
  }
  CHECK(seen == free);
}

TEST_CASE("what no gradient reads may change; reading is no change") {
  Variable a = leaf(2), b = leaf(5);
  const Variable total = a + b;
  a.value().fill(9);
  total.backward();
  CHECK(a.grad().item<double>() == 1);

  const Variable x = leaf(3);
  const Variable y = square(x);
  const std::uint64_t before = x.value().version();
  (void)x.value().raw();
  (void)x.value().item<double>();
  (void)x.value().clone();
  (void)all_finite(x.value());
  CHECK(x.value().version() == before);
  y.backward();
  CHECK(x.grad().item<double>() == 6);
  Tensor t = zeros({2});
  const std::uint64_t start = t.version();
  t.data<float>()[0] = 1;
  CHECK(t.version() == start + 1);
  CHECK(t.slice(0, 1).version() == start + 1);
  CHECK(Tensor().version() == 0);
}

TEST_CASE("an optimiser's step between forward and backward") {
  Variable w(ones({3}, device_options()), true);
  optim::Sgd optimizer({{"w", &w}}, {});
  const Variable loss = sum(square(w));
  loss.backward({}, true);
  const Tensor guard = loss.value();
  const std::uint64_t version = guard.version(), gradient = w.grad().version();
  optimizer.step(0.1, guard);
  CHECK(guard.version() == version);  // read only, as the gradient
  CHECK(w.grad().version() == gradient);
  CHECK_ERROR(loss.backward(), changed);
  optimizer.zero_grad();
  sum(square(w)).backward();  // a new forward pass
}

TEST_CASE("work that is repeated, on a GPU by replaying it, between forward and backward") {
  Variable w(ones({3}, device_options()), true);
  RepeatedWork work(test_device(), [&] { add_scaled(w.value(), ones({3}, device_options())); });
  for (int i = 0; i < 4; ++i) work.run();
  CHECK(work.replays() == (test_device() == Device::cuda));
  const Variable loss = sum(square(w));
  work.run();
  CHECK_ERROR(loss.backward(), changed);
  CHECK(w.value().to_vector<float>() == std::vector<float>(3, 6.0F));
}

TEST_CASE("batch norm's running statistics may move on under an evaluation's graph") {
  nn::BatchNorm layer({.channels = 3});
  layer.to(test_device());
  const Variable x(random_tensor<float>({5, 3}, 1), true);
  layer.eval();
  const Variable y = layer(x);
  layer.train();
  layer(Variable(random_tensor<float>({5, 3}, 2)));
  sum(y).backward();
  CHECK(x.grad().defined());
}

TEST_CASE("a checkpoint's inputs and what its function captured") {
  Variable x(random_tensor<float>({4, 5}, 1), true), w(random_tensor<float>({5, 5}, 2), true);
  const auto run = [&] {
    return sum(checkpoint([&w](const auto& in) { return tanh(matmul(in[0], w)); }, {exp(x)}));
  };
  const Variable captured_changed = run();
  w.value().fill(1);
  CHECK_ERROR(captured_changed.backward(), "a checkpointed function read was changed in place");
  CHECK_FALSE(w.grad().defined());
  // Also where no op saves it.
  Variable shift(random_tensor<float>({5}, 3));
  const Variable shifted =
      sum(checkpoint([&shift](const auto& in) { return tanh(in[0] + shift); }, {exp(x)}));
  shift.value().fill(1);
  CHECK_ERROR(shifted.backward(), "a checkpointed function read was changed in place");

  Variable input = exp(x);
  const Variable input_changed =
      sum(checkpoint([](const auto& in) { return tanh(in[0]); }, {input}));
  input.value().fill(1);
  CHECK_ERROR(input_changed.backward(), changed);
  run().backward();
  CHECK(w.grad().defined());
}
