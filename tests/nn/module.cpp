#include <gradus/nn/module.h>

#include <doctest/doctest.h>

#include <cmath>

#include <gradus/autograd/ops.h>
#include <gradus/nn/activation.h>
#include <gradus/nn/batch_norm.h>
#include <gradus/nn/dropout.h>
#include <gradus/nn/linear.h>
#include <gradus/nn/sequential.h>
#include <gradus/nn/shape_layers.h>
#include "tests/support/device.h"

using namespace gradus;
using namespace gradus::nn;
using namespace gradus::test;

namespace {

/// Children, an own parameter, a buffer and a generator.
class Net : public Module {
 public:
  explicit Net(Generator& generator)
      : body(add("body", std::make_unique<Sequential>())),
        head(add("head", std::make_unique<Linear>(LinearOptions{4, 2, false}, generator))) {
    body.append(std::make_unique<Linear>(LinearOptions{3, 4}, generator));
    body.append(std::make_unique<BatchNorm1d>(nn::BatchNormOptions{.channels = 4}));
    Generator masks(7);
    body.append(std::make_unique<Dropout>(DropoutOptions{0.5}, masks));
    register_parameter("scale", scale);
    register_buffer("offset", offset);
  }
  Sequential& body;
  Linear& head;
  Variable scale{ones({1}), true};
  Tensor offset = zeros({1});

 protected:
  Variable forward(const Variable& x) override { return head(body(x)) * scale; }
};

/// Registers what a test asks for.
class Bare : public Module {
 public:
  using Module::add;
  using Module::register_buffer;
  using Module::register_parameter;

 protected:
  Variable forward(const Variable& x) override { return x; }
};

template <class Entries>
std::vector<std::string> names_of(const Entries& entries) {
  std::vector<std::string> names;
  for (const auto& entry : entries) names.push_back(entry.name);
  return names;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("names are dotted paths, own parameters first, in the order of registration") {
  Generator generator(1);
  Net net(generator);
  CHECK(names_of(net.named_parameters()) == Names{"scale", "body.0.weight", "body.0.bias",
                                                  "body.1.weight", "body.1.bias", "head.weight"});
  CHECK(names_of(net.named_buffers()) ==
        Names{"offset", "body.1.running_mean", "body.1.running_var", "body.1.num_batches_tracked"});
  CHECK(names_of(net.named_state()) == Names{"scale", "offset", "body.0.weight", "body.0.bias",
                                             "body.1.weight", "body.1.bias", "body.1.running_mean",
                                             "body.1.running_var", "body.1.num_batches_tracked",
                                             "head.weight"});
  CHECK(names_of(net.named_generators()) == Names{"body.2.generator"});
  CHECK(net.parameter_count() == 1 + 12 + 4 + 4 + 4 + 8);
  CHECK(net.head.name() == "head");
}

TEST_CASE("an error carries the path of the module that raised it") {
  Generator generator(1);
  Net net(generator);
  const Variable wrong(zeros({2, 5}));
  CHECK_THROWS_WITH_AS(net(wrong),
                       "body.0: [linear] x's last axis must match weight's input features; got x "
                       "[2, 5], weight [4, 3]",
                       Error);
  CHECK_THROWS_WITH_AS(net.head(wrong),
                       "head: [linear] x's last axis must match weight's input features; got x [2, "
                       "5], weight [2, 4]",
                       Error);
  // The path of running modules is unwound: the next error starts afresh.
  CHECK_THROWS_WITH_AS(net.body(wrong), doctest::Contains("body.0: [linear]"), Error);
}

TEST_CASE("bad names are errors") {
  Bare module;
  Tensor buffer = zeros({1});
  Variable parameter(zeros({1}), true);
  module.register_buffer("a", buffer);
  CHECK_THROWS_WITH_AS(module.register_parameter("a", parameter),
                       "[module] the name \"a\" is already taken", Error);
  CHECK_THROWS_AS(module.add("a", std::make_unique<Identity>()), Error);
  CHECK_THROWS_AS(module.register_buffer("", buffer), Error);
  CHECK_THROWS_AS(module.register_buffer("a.b", buffer), Error);
  Variable undefined;
  module.register_parameter("bias", undefined);
  CHECK(module.named_parameters().empty());
}

TEST_CASE("training mode reaches all children and leaves requires_grad alone") {
  Generator generator(1);
  Net net(generator);
  CHECK(net.training());
  net.body[0].set_requires_grad(false);
  net.eval();
  CHECK_FALSE(net.training());
  CHECK_FALSE(net.body[2].training());
  CHECK_FALSE(net.named_parameters()[1].variable->requires_grad());
  CHECK(net.head.weight.requires_grad());
  net.train();
  CHECK(net.body[2].training());
  CHECK_FALSE(net.named_parameters()[1].variable->requires_grad());
}

TEST_CASE("a frozen module records no graph; the rest still learns") {
  Generator generator(1);
  Net net(generator);
  const Variable x(uniform({6, 3}, -1, 1, generator, device_options()));
  net.to(test_device());
  net.freeze();
  CHECK_FALSE(net(x).requires_grad());
  net.head.set_requires_grad(true);
  sum(net(x)).backward();
  CHECK(net.head.weight.grad().defined());
  CHECK_FALSE(net.scale.requires_grad());
  net.zero_grad();
  CHECK_FALSE(net.head.weight.grad().defined());
}

TEST_CASE("to(dtype) converts floating parameters and buffers, not counters") {
  Generator generator(1);
  Net net(generator);
  net.freeze();
  net.head.set_requires_grad(true);
  net.to(DType::float64);
  for (const auto& entry : net.named_state()) {
    const bool counter = entry.name.ends_with("num_batches_tracked");
    CHECK(entry.tensor->dtype() == (counter ? DType::int64 : DType::float64));
  }
  CHECK(net.head.weight.requires_grad());
  CHECK_FALSE(net.scale.requires_grad());
  CHECK(net(Variable(ones({4, 3}, {DType::float64}))).dtype() == DType::float64);
  CHECK_THROWS_AS(net.to(DType::int64), Error);
}

TEST_CASE("an observer sees every output with its full path, innermost first") {
  Generator generator(1);
  Net net(generator);
  net.to(test_device());
  const Variable x(uniform({4, 3}, -1, 1, generator, device_options()));
  Names seen;
  {
    const ForwardObserver outer([&](const std::string& path, const Tensor& output) {
      CHECK(output.defined());
      seen.push_back(path);
    });
    {
      const ForwardObserver inner([](const std::string&, const Tensor&) {});
      net(x);
    }
    CHECK(seen.empty());
    net(x);
  }
  CHECK(seen == Names{"body.0", "body.1", "body.2", "body", "head", ""});
  net(x);
  CHECK(seen.size() == 6);
}

TEST_CASE("an observer finds the first module with a non-finite output") {
  Generator generator(1);
  Net net(generator);
  net.to(test_device());
  net.body[0].named_parameters()[0].variable->value().fill(INFINITY);
  std::string first;
  const ForwardObserver observer([&](const std::string& path, const Tensor& output) {
    if (first.empty() && !all_finite(output)) first = path;
  });
  net(Variable(ones({2, 3}, device_options())));
  CHECK(first == "body.0");
}
