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
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"

using namespace gradus;
using namespace gradus::nn;
using namespace gradus::test;

namespace {

/// Children, an own parameter, a buffer and a generator.
class Net : public Module {
 public:
  explicit Net(Generator& generator)
      : body(add("body", std::make_unique<Sequential>())),
        head(add<Linear>("head", {4, 2, false}, generator)) {
    body.add<Linear>({3, 4}, generator);
    body.add<BatchNorm1d>({.channels = 4});
    Generator masks(7);
    body.add<Dropout>({0.5}, masks);
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

/// A module of a class of its own, whose forward fails.
template <class T>
class Failing : public Module {
 protected:
  Variable forward(const Variable&) override { fail("failing", "always"); }
};

}  // namespace

TEST_CASE("names are dotted paths, own parameters first, in the order of registration") {
  Generator generator(1);
  Net net(generator);
  CHECK(names_of(net.parameters()) == Names{"scale", "body.0.weight", "body.0.bias",
                                            "body.1.weight", "body.1.bias", "head.weight"});
  CHECK(names_of(net.buffers()) ==
        Names{"offset", "body.1.running_mean", "body.1.running_var", "body.1.num_batches_tracked"});
  CHECK(names_of(net.state()) == Names{"scale", "offset", "body.0.weight", "body.0.bias",
                                       "body.1.weight", "body.1.bias", "body.1.running_mean",
                                       "body.1.running_var", "body.1.num_batches_tracked",
                                       "head.weight"});
  CHECK(names_of(net.generators()) == Names{"body.2.generator"});
  CHECK(net.parameter_count() == 1 + 12 + 4 + 4 + 4 + 8);
  CHECK(net.head.name() == "head");
}

TEST_CASE("an error carries the path of the module that raised it") {
  Generator generator(1);
  Net net(generator);
  const Variable wrong(zeros({2, 5}));
  CHECK_THROWS_WITH_AS(net(wrong),
                       "body.0 (Linear): [linear] x's last axis must match weight's input "
                       "features; got x [2, 5], weight [4, 3]",
                       Error);
  CHECK_THROWS_WITH_AS(net.head(wrong),
                       "head (Linear): [linear] x's last axis must match weight's input features; "
                       "got x [2, 5], weight [2, 4]",
                       Error);
  Sequential outer;
  outer.add<Failing<gradus::Variable>>();
  CHECK_THROWS_WITH_AS(outer(wrong), "0 (Failing<gradus::Variable>): [failing] always", Error);
  // The path of running modules is unwound: the next error starts afresh.
  CHECK_THROWS_WITH_AS(net.body(wrong), doctest::Contains("body.0 (Linear): [linear]"), Error);
}

TEST_CASE("a const module tells what it holds") {
  Generator generator(1);
  const Net net(generator);
  CHECK(net.parameters().size() == 6);
  CHECK(net.parameter_count() == 33);
  CHECK(net.device() == Device::cpu);
  Names classes;
  net.visit([&](const std::string& path, const Module&) { classes.push_back(path); });
  CHECK(classes == Names{"", "body", "body.0", "body.1", "body.2", "head"});
  CHECK(net.body[1].name() == "1");
}

TEST_CASE("a module takes a tensor, as a constant") {
  Generator generator(1);
  Net net(generator);
  net.to(test_device());
  net.eval();
  const Tensor x = uniform({4, 3}, -1, 1, generator, device_options());
  CHECK(same_bits(net(x).value(), net(Variable(x)).value()));
}

TEST_CASE("what a Sequential does not have, and no module, are errors") {
  Sequential net;
  net.add<Identity>();
  const Sequential& same = net;
  CHECK(&same[0] == &net[0]);
  CHECK_ERROR(net[9], "[sequential] there is no module 9: there are 1");
  CHECK_ERROR(same[1], "[sequential] there is no module 1: there are 1");
  CHECK_ERROR(net.add(std::unique_ptr<Linear>()), "[module] the module to add under \"1\" is null");
  CHECK(net.size() == 1);
  Bare bare;
  Variable product = Variable(ones({1}), true) * 2;
  CHECK_ERROR(bare.register_parameter("a", product), "the parameter a was computed from");
  Tensor undefined;
  CHECK_ERROR(bare.register_buffer("a", undefined), "the buffer \"a\" is undefined");
  CHECK_ERROR(bare.add("a", std::unique_ptr<Linear>()), "the module to add under \"a\" is null");
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
  CHECK(module.parameters().empty());
}

TEST_CASE("training mode reaches all children and leaves requires_grad alone") {
  Generator generator(1);
  Net net(generator);
  CHECK(net.training());
  net.body[0].set_requires_grad(false);
  net.eval();
  CHECK_FALSE(net.training());
  CHECK_FALSE(net.body[2].training());
  CHECK_FALSE(net.parameters()[1].variable->requires_grad());
  CHECK(net.head.weight.requires_grad());
  net.train();
  CHECK(net.body[2].training());
  CHECK_FALSE(net.parameters()[1].variable->requires_grad());
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
  for (const auto& entry : net.state()) {
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

TEST_CASE("of several observers any may end first") {
  Generator generator(1);
  Net net(generator);
  net.to(test_device());
  const Variable x(uniform({4, 3}, -1, 1, generator, device_options()));
  int first = 0, second = 0;
  auto a = std::make_unique<ForwardObserver>([&](const std::string&, const Tensor&) { ++first; });
  auto b = std::make_unique<ForwardObserver>([&](const std::string&, const Tensor&) { ++second; });
  a.reset();
  net(x);
  CHECK(first == 0);
  CHECK(second == 6);
  b.reset();
  net(x);
  CHECK(second == 6);
}

TEST_CASE("an observer finds the first module with a non-finite output") {
  Generator generator(1);
  Net net(generator);
  net.to(test_device());
  net.body[0].parameters()[0].variable->value().fill(INFINITY);
  std::string first;
  const ForwardObserver observer([&](const std::string& path, const Tensor& output) {
    if (first.empty() && !all_finite(output)) first = path;
  });
  net(Variable(ones({2, 3}, device_options())));
  CHECK(first == "body.0");
}
