#include <gradus/nn/state_dict.h>

#include <doctest/doctest.h>

#include <gradus/nn/resnet.h>
#include <gradus/tensor/io/safetensors.h>
#include <gradus/tensor/ops.h>
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "tests/support/temp_folder.h"

using namespace gradus;
using namespace gradus::nn;
using namespace gradus::test;

namespace {

/// A module with a convolution, a batch norm and a linear layer.
std::unique_ptr<Sequential> small_net(std::uint64_t seed) {
  Generator generator(seed);
  auto net = std::make_unique<Sequential>();
  net->add<Conv2d>({.in_channels = 3, .out_channels = 2, .kernel = {1, 2}, .bias = false},
                   generator);
  net->add<BatchNorm2d>({.channels = 2});
  net->add<Linear>({2, 4}, generator);
  net->to(test_device());
  return net;
}

std::vector<float> floats(const Tensor& x) {
  return x.to(Device::cpu).to(DType::float32).to_vector<float>();
}

bool same_state(const StateDict& a, const StateDict& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.shape() == y.second.shape() &&
           floats(x.second) == floats(y.second);
  });
}

}  // namespace

TEST_CASE("state_dict has PyTorch's names, shapes and layouts") {
  const auto net = small_net(1);
  const StateDict state = state_dict(*net);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : state) names.push_back(name);
  CHECK(names == std::vector<std::string>{"0.weight", "1.bias", "1.num_batches_tracked",
                                          "1.running_mean", "1.running_var", "1.weight", "2.bias",
                                          "2.weight"});
  const Tensor& weight = state.at("0.weight");  // [O, I, kH, kW] = [2, 3, 1, 2]
  CHECK(weight.shape() == Shape{2, 3, 1, 2});
  const auto ours = floats(net->parameters()[0].variable->value());  // [2, 1, 2, 3]
  const auto theirs = floats(weight);
  for (std::size_t o = 0; o < 2; ++o) {
    for (std::size_t i = 0; i < 3; ++i) {
      for (std::size_t k = 0; k < 2; ++k) {
        CHECK(theirs[(o * 3 + i) * 2 + k] == ours[(o * 2 + k) * 3 + i]);
      }
    }
  }
  CHECK(state.at("1.num_batches_tracked").shape() == Shape{});
  CHECK(state.at("1.num_batches_tracked").dtype() == DType::int64);
}

TEST_CASE("state_dict is a snapshot") {
  const auto net = small_net(1);
  const StateDict state = state_dict(*net);
  const auto before = floats(state.at("2.bias"));
  for (const auto& parameter : net->parameters()) parameter.variable->value().fill(3);
  CHECK(floats(state.at("2.bias")) == before);
}

TEST_CASE("a state may hold the module's own tensors, in other places") {
  Generator generator(1);
  Sequential net;
  Variable& a =
      net.add<Linear>({.in_features = 2, .out_features = 2, .bias = false}, generator).weight;
  Variable& b =
      net.add<Linear>({.in_features = 2, .out_features = 2, .bias = false}, generator).weight;
  const auto a_before = floats(a.value()), b_before = floats(b.value());
  load_state_dict(net, {{"0.weight", b.value()}, {"1.weight", a.value()}});
  CHECK(floats(a.value()) == b_before);
  CHECK(floats(b.value()) == a_before);
}

TEST_CASE("a state goes from one module to another, below a prefix, and from float64") {
  const auto source = small_net(1);
  (*source)(Variable(ones({2, 3, 3, 3}, device_options())));  // moves the buffers
  StateDict state = state_dict(*source, "encoder");
  state.emplace("projector.weight", zeros({1}));  // not below the prefix: ignored

  const auto target = small_net(2);
  const Tensor handle = target->parameters()[0].variable->value();
  const LoadReport report = load_state_dict(*target, state, "encoder");
  CHECK(report.missing.empty());
  CHECK(report.unexpected.empty());
  CHECK(same_state(state_dict(*target), state_dict(*source)));
  CHECK(floats(handle) == floats(source->parameters()[0].variable->value()));

  const auto third = small_net(3);
  source->to(DType::float64);
  load_state_dict(*third, state_dict(*source));
  CHECK(same_state(state_dict(*third), state_dict(*target)));
  CHECK(third->parameters()[0].variable->dtype() == DType::float32);
}

TEST_CASE("a state that does not fit changes nothing and says why") {
  const auto net = small_net(1);
  const StateDict before = state_dict(*net);
  StateDict state = state_dict(*small_net(2));

  SUBCASE("missing and unexpected names") {
    for (const char* name : {"0.weight", "1.bias", "1.weight", "2.bias"}) state.erase(name);
    state.emplace("fc.weight", zeros({1}));
    CHECK_THROWS_WITH_AS(load_state_dict(*net, state),
                         "[load_state_dict] the state does not fit the module: it lacks 4 names "
                         "(0.weight, 1.weight, 1.bias, ...) and has unexpected 1 name (fc.weight)",
                         Error);
  }
  SUBCASE("shape") {
    state["2.weight"] = zeros({4, 3});
    CHECK_THROWS_WITH_AS(load_state_dict(*net, state),
                         "[load_state_dict] 2.weight has shape [4, 3] in the state, but the module "
                         "needs [4, 2]",
                         Error);
  }
  SUBCASE("a convolution's shape is told in PyTorch's layout") {
    state["0.weight"] = zeros({2, 1, 2, 3});
    CHECK_THROWS_WITH_AS(load_state_dict(*net, state),
                         "[load_state_dict] 0.weight has shape [2, 1, 2, 3] in the state, but the "
                         "module needs [2, 3, 1, 2]",
                         Error);
  }
  SUBCASE("type") {
    state["2.bias"] = zeros({4}, {DType::int64});
    CHECK_THROWS_WITH_AS(load_state_dict(*net, state),
                         "[load_state_dict] 2.bias holds int64 in the state, but the module needs "
                         "float32",
                         Error);
  }
  SUBCASE("nothing under a name") {
    state["2.bias"] = Tensor();
    CHECK_THROWS_WITH_AS(load_state_dict(*net, state),
                         "[load_state_dict] 2.bias is undefined in the state", Error);
  }
  CHECK(same_state(state_dict(*net), before));
}

TEST_CASE("without strict, what fits is loaded and the rest reported") {
  const auto net = small_net(1);
  const auto other = small_net(2);
  StateDict state = state_dict(*other);
  state.erase("0.weight");
  state.emplace("extra", zeros({1}));
  const auto own_weight = floats(state_dict(*net).at("0.weight"));
  const LoadReport report = load_state_dict(*net, state, "", {.strict = false});
  CHECK(report.missing == std::vector<std::string>{"0.weight"});
  CHECK(report.unexpected == std::vector<std::string>{"extra"});
  CHECK(floats(state_dict(*net).at("0.weight")) == own_weight);
  CHECK(floats(state_dict(*net).at("2.weight")) == floats(state_dict(*other).at("2.weight")));
}

TEST_CASE("a state of an old PyTorch, without num_batches_tracked, is taken") {
  const auto net = small_net(1);
  (*net)(Variable(ones({2, 3, 3, 3}, device_options())));
  const StateDict before = state_dict(*net);
  StateDict state = state_dict(*small_net(2));
  state.erase("1.num_batches_tracked");
  const LoadReport report = load_state_dict(*net, state);
  CHECK(report.missing.empty());
  CHECK(report.unexpected.empty());
  const StateDict after = state_dict(*net);
  CHECK(floats(after.at("0.weight")) == floats(state.at("0.weight")));
  CHECK(floats(after.at("1.running_var")) == floats(state.at("1.running_var")));
  CHECK(after.at("1.num_batches_tracked").item<std::int64_t>() == 1);  // as it was

  // All else is still required.
  state.erase("1.running_var");
  CHECK_THROWS_WITH_AS(load_state_dict(*net, state),
                       "[load_state_dict] the state does not fit the module: it lacks 1 name "
                       "(1.running_var)",
                       Error);
}

TEST_CASE("a module goes through a file, or stays as it is where the file does not fit") {
  const TempFolder folder;
  const auto source = small_net(1), target = small_net(2);
  save(*source, folder / "net.safetensors");
  CHECK_FALSE(same_state(state_dict(*source), state_dict(*target)));
  load(*target, folder / "net.safetensors");
  CHECK(same_state(state_dict(*source), state_dict(*target)));
  CHECK(read_safetensors(folder / "net.safetensors").metadata.at("format") == "pt");

  Sequential other;
  other.add<BatchNorm2d>({.channels = 2});
  CHECK_ERROR(load(other, folder / "net.safetensors"),
              "net.safetensors does not fit the module: [load_state_dict] the state does not fit");
  CHECK_ERROR(load(other, folder / "none.safetensors"), "none.safetensors");
}
