// Layers as one (nn/fused.h) against the same layers one by one.
#include <gradus/nn/fused.h>

#include <doctest/doctest.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include <gradus/autograd/ops_fused.h>
#include <gradus/nn/state_dict.h>
#include <gradus/nn/vicreg_model.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"

using namespace gradus;
using namespace gradus::nn;
using namespace gradus::test;

namespace {

using Named = std::map<std::string, Tensor>;

/// Of a forward and backward pass.
struct Results {
  Named values;     ///< the output and the module's buffers
  Named gradients;  ///< of the input and the parameters
};

Tensor normal_tensor(const Shape& shape, std::uint64_t seed, DType dtype) {
  Generator generator(seed);
  return on_device(normal(shape, 0, 1, generator).to(dtype));
}

Results forward_backward(Module& module, const Shape& shape, DType dtype) {
  const Variable x(normal_tensor(shape, 7, dtype), true);
  const Variable y = module(x);
  y.backward(normal_tensor(y.shape(), 8, dtype));
  Results results{{{"output", y.value()}}, {{"input", x.grad()}}};
  for (const auto& buffer : module.buffers()) results.values[buffer.name] = *buffer.tensor;
  for (const auto& parameter : module.parameters())
    results.gradients[parameter.name] = parameter.variable->grad();
  return results;
}

/// How far the two ways may be apart, as RMS errors beside the RMS value; 0: they have the same
/// bits.
struct Tolerances {
  double values = 0, gradients = 0;
};

/// The compiler rounds the float sums of a masked and of a plain gradient at other places.
Tolerances exact(DType dtype) { return {0, dtype == DType::float64 ? 0 : 1e-5}; }

double rms(const Tensor& x) { return std::sqrt(mean(square(x.to(DType::float64))).item<double>()); }

/// The RMS value; of a bias's gradient, that of the weight's beside it if that is larger: a bias
/// before a batch norm moves nothing, so that its gradient is but rounding errors.
double scale_of(const std::string& name, const Named& all) {
  double scale = rms(all.at(name));
  if (name.ends_with("bias")) {
    const auto weight = all.find(name.substr(0, name.size() - 4) + "weight");
    if (weight != all.end()) scale = std::max(scale, rms(weight->second));
  }
  return scale;
}

void check_close(const Named& actual, const Named& expected, double tolerance) {
  CHECK(actual.size() == expected.size());
  for (const auto& [name, value] : expected) {
    CAPTURE(name);
    if (tolerance == 0) {
      CHECK(same_bits(actual.at(name), value));
    } else {
      const Tensor error = actual.at(name).to(DType::float64) - value.to(DType::float64);
      CHECK(rms(error) <= tolerance * scale_of(name, expected));
    }
  }
}

using Make = std::function<std::unique_ptr<Module>(Generator&)>;

/// Two equal modules, one run as one and the other one by one.
void compare_ways(const Make& make, const Shape& shape, DType dtype, const Tolerances& tolerances) {
  CAPTURE(name(dtype));
  const auto run = [&] {
    Generator generator(3);
    const std::unique_ptr<Module> module = make(generator);
    module->to(test_device());
    if (dtype == DType::float64) module->to(dtype);
    return forward_backward(*module, shape, dtype);
  };
  const Results actual = run();
  const NoFusion one_by_one;
  const Results expected = run();
  check_close(actual.values, expected.values, tolerances.values);
  check_close(actual.gradients, expected.gradients, tolerances.gradients);
}

}  // namespace

TEST_CASE("a residual block as one has the results of its layers one by one") {
  enum class Mode { training, first_frozen, second_frozen, evaluation };
  for (const std::int64_t stride : {1, 2}) {
    for (const Mode mode :
         {Mode::training, Mode::first_frozen, Mode::second_frozen, Mode::evaluation}) {
      CAPTURE(stride);
      CAPTURE(static_cast<int>(mode));
      const auto make = [&](Generator& generator) {
        auto block = std::make_unique<BasicBlock>(
            BasicBlock::Options{.in_channels = 16, .out_channels = 16 * stride, .stride = stride},
            generator);
        block->train(mode != Mode::evaluation);
        if (mode == Mode::first_frozen) block->bn1.eval();
        if (mode == Mode::second_frozen) block->bn2.eval();
        return block;
      };
      const Shape shape{3, 12, 8, 16};
      compare_ways(make, shape, DType::float32, exact(DType::float32));
      compare_ways(make, shape, DType::float64, exact(DType::float64));
      // What is not stored in between is not rounded to bfloat16.
      compare_ways(make, shape, DType::bfloat16, {0x1p-6, 0.1});
    }
  }
}

TEST_CASE("a projector as one has the results of its layers one by one") {
  for (const bool training : {true, false}) {
    CAPTURE(training);
    const auto make = [training](Generator& generator) {
      auto projector = std::make_unique<Projector>(
          Projector::Options{.in_features = 12, .widths = {24, 7, 5}}, generator);
      projector->train(training);
      return projector;
    };
    for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16})
      compare_ways(make, {9, 12}, dtype, exact(dtype));
  }
}

TEST_CASE("a ResNet as one has the results of its layers one by one") {
  for (const bool bias : {false, true}) {
    for (const bool training : {true, false}) {
      CAPTURE(bias);
      CAPTURE(training);
      const auto make = [&](Generator& generator) {
        auto net = std::make_unique<ResNet>(
            ResNet::Options{.layers = {1, 2, 1, 1}, .width = 4, .stem_bias = bias}, generator);
        net->train(training);
        return net;
      };
      compare_ways(make, {3, 9, 8, 3}, DType::float32, exact(DType::float32));
      compare_ways(make, {3, 9, 8, 3}, DType::float64, exact(DType::float64));
    }
  }
}

TEST_CASE(
    "an observer changes nothing of what runs, and sees each layer where they run one by one") {
  Generator generator(2);
  VICRegModel model({.encoder = {.layers = {1, 1, 1, 1}, .width = 2}, .projector_widths = {4, 4}},
                    generator);
  model.to(test_device());
  const Variable x(normal_tensor({2, 8, 8, 3}, 5, DType::bfloat16));
  const auto bytes_of_graph = [&] {
    const std::size_t before = memory_stats(test_device()).in_use;
    const Variable y = model(x);
    return memory_stats(test_device()).in_use - before;
  };
  const Tensor unwatched = model(x).value();
  const std::size_t bytes = bytes_of_graph();

  std::set<std::string> seen;
  const ForwardObserver observer(
      [&seen](const std::string& path, const Tensor&) { seen.insert(path); });
  CHECK(same_bits(model(x).value(), unwatched));
  CHECK(bytes_of_graph() == bytes);
  for (const char* path : {"encoder.layer1.0", "encoder.layer2.0.downsample.1", "encoder.layer2",
                           "encoder", "projector.network.0", "projector", ""})
    CHECK_MESSAGE(seen.contains(path), path);
  CHECK_FALSE(seen.contains("encoder.layer1.0.bn1"));

  const NoFusion one_by_one;
  CHECK_FALSE(fusion_enabled());
  model(x);
  for (const char* path : {"encoder.conv1", "encoder.bn1", "encoder.layer1.0.conv1",
                           "encoder.layer1.0.bn1", "encoder.layer1.0.conv2", "encoder.layer4.0.bn2",
                           "projector.network.1", "projector.network.2"})
    CHECK_MESSAGE(seen.contains(path), path);
  if (test_device() == Device::cpu) CHECK(bytes_of_graph() > bytes);
}

TEST_CASE("errors of layers that run as one are those of the layers one by one") {
  Generator generator(2);
  VICRegModel model({.encoder = {.layers = {1, 1, 1, 1}, .width = 2}, .projector_widths = {4, 4}},
                    generator);
  const auto errors = [&] {
    std::vector<std::string> messages;
    for (const Shape& shape : {Shape{2, 8, 8, 1}, Shape{1, 8, 8, 3}})
      messages.push_back(error_of([&] { model(Variable(zeros(shape))); }));
    for (const Shape& shape : {Shape{2, 5}, Shape{1, 16}})
      messages.push_back(error_of([&] { model.projector(Variable(zeros(shape))); }));
    Variable& gamma = dynamic_cast<BasicBlock&>(model.encoder.layer1[0]).bn1.weight;
    const Variable before = std::exchange(gamma, Variable(ones({3}), true));
    messages.push_back(error_of([&] { model(Variable(zeros({2, 8, 8, 3}))); }));
    gamma = before;
    return messages;
  };
  const auto as_one = errors();
  const NoFusion one_by_one;
  const auto expected = errors();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CHECK(as_one[i] != "");
    CHECK(as_one[i] == expected[i]);
  }
}

TEST_CASE("layers run as one again when the last NoFusion has gone") {
  CHECK(fusion_enabled());
  {
    const NoFusion outer;
    { const NoFusion inner; }
    CHECK_FALSE(fusion_enabled());
  }
  CHECK(fusion_enabled());
}
