#include <gradus/nn/resnet.h>

#include <doctest/doctest.h>

#include <functional>
#include <optional>
#include <set>

#include <gradus/autograd/ops.h>
#include <gradus/nn/fused.h>
#include <gradus/nn/state_dict.h>
#include <gradus/nn/vicreg_model.h>
#include <gradus/tensor/ops.h>
#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/module_gradcheck.h"
#include "tests/support/near.h"

using namespace gradus;
using namespace gradus::nn;
using namespace gradus::test;

namespace {

/// One block a stage and 2 channels, small enough for gradient checks.
ResNet::Options tiny() { return {.layers = {1, 1, 1, 1}, .width = 2}; }

Tensor images(const Shape& shape, DType dtype = DType::float64) {
  Generator generator(4);
  return uniform(shape, -1, 1, generator, device_options(dtype));
}

/// Value of a training step's output; gradients and running statistics are in `net`.
Tensor forward_backward(ResNet& net) {
  net.to(test_device());
  const Variable y = net(Variable(images({3, 9, 8, 3}, DType::float32)));
  sum(square(y)).backward();
  return y.value();
}

/// Gradients and buffers have the same bits.
void check_same_state(ResNet& actual, ResNet& expected) {
  const auto parameters = actual.parameters(), others = expected.parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    CAPTURE(parameters[i].name);
    CHECK(same_bits(parameters[i].variable->grad(), others[i].variable->grad()));
  }
  const auto buffers = actual.buffers(), other_buffers = expected.buffers();
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    CAPTURE(buffers[i].name);
    CHECK(same_bits(*buffers[i].tensor, *other_buffers[i].tensor));
  }
}

std::int64_t count(const ResNet::Options& options) {
  Generator generator(0);
  return ResNet(options, generator).parameter_count();
}

}  // namespace

TEST_CASE("parameter counts are torchvision's" * cpu_only()) {
  ResNet::Options imagenet18 = resnet18();
  imagenet18.stem = Stem::imagenet;
  imagenet18.fc_features = 1000;
  CHECK(count(imagenet18) == 11'689'512);
  ResNet::Options imagenet34 = resnet34();
  imagenet34.stem = Stem::imagenet;
  imagenet34.fc_features = 1000;
  CHECK(count(imagenet34) == 21'797'672);
  CHECK(count(resnet18()) == 11'168'832);  // 3x3 stem, no fc
}

TEST_CASE("names are torchvision's" * cpu_only()) {
  Generator generator(0);
  ResNet::Options options = resnet18();
  options.fc_features = 10;
  options.stem_bias = true;
  ResNet net(options, generator);
  const StateDict state = state_dict(net);
  CHECK(state.size() == 62 + 60 + 1);  // parameters with conv1.bias, 20 batch norms' buffers
  for (const char* name :
       {"conv1.weight", "conv1.bias", "bn1.running_var", "layer1.0.conv1.weight",
        "layer1.1.bn2.num_batches_tracked", "layer2.0.downsample.0.weight",
        "layer2.0.downsample.1.bias", "layer4.1.conv2.weight", "fc.weight", "fc.bias"}) {
    CHECK_MESSAGE(state.contains(name), name);
  }
  CHECK_FALSE(state.contains("layer1.0.downsample.0.weight"));
  CHECK(state.at("layer2.0.conv1.weight").shape() == Shape{128, 64, 3, 3});
  CHECK(state.at("layer4.0.downsample.0.weight").shape() == Shape{512, 256, 1, 1});
}

TEST_CASE("the VICReg model has the names and the size of the program that it reproduces" *
          cpu_only()) {
  Generator generator(0);
  ResNet::Options encoder = resnet18();
  encoder.stem_padding = 0;
  encoder.stem_bias = true;
  encoder.fc_features = 512;
  VICRegModel model({.encoder = encoder, .projector_widths = {1024, 1024, 1024, 1024}}, generator);
  CHECK(model.parameter_count() == 15'111'808);

  std::set<std::string> projector;
  for (const auto& [name, tensor] : state_dict(model)) {
    CHECK((name.starts_with("encoder.") || name.starts_with("projector.")));
    if (name.starts_with("projector.")) projector.insert(name);
  }
  std::set<std::string> expected;
  for (const char* linear : {"0", "3", "6", "9"}) {
    for (const char* tensor : {"weight", "bias"}) {
      expected.insert(fmt::format("projector.network.{}.{}", linear, tensor));
    }
  }
  for (const char* norm : {"1", "4", "7"}) {
    for (const char* tensor :
         {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}) {
      expected.insert(fmt::format("projector.network.{}.{}", norm, tensor));
    }
  }
  CHECK(projector == expected);
}

TEST_CASE("output shapes of the stems") {
  Generator generator(0);
  for (const std::int64_t padding : {0, 1, 2}) {
    ResNet::Options options = tiny();
    options.stem_padding = padding;
    ResNet net(options, generator);
    net.to(test_device());
    const Variable x(images({2, 32, 32, 3}, DType::float32));
    CHECK(net.conv1(x).shape() == Shape{2, 30 + 2 * padding, 30 + 2 * padding, 2});
    CHECK(net(x).shape() == Shape{2, 16});
    CHECK(net.feature_count() == 16);
  }
  ResNet::Options options = tiny();
  options.stem = Stem::imagenet;
  options.fc_features = 5;
  ResNet net(options, generator);
  net.to(test_device());
  std::map<std::string, Shape> shapes;
  const NoFusion one_by_one;
  const ForwardObserver observer(
      [&](const std::string& path, const Tensor& y) { shapes[path] = y.shape(); });
  CHECK(net(Variable(images({2, 64, 64, 3}, DType::float32))).shape() == Shape{2, 5});
  CHECK(net.feature_count() == 5);
  CHECK(shapes.at("conv1") == Shape{2, 32, 32, 2});
  CHECK(shapes.at("layer1") == Shape{2, 16, 16, 2});
  CHECK(shapes.at("layer4.0.downsample.1") == Shape{2, 2, 2, 16});
}

TEST_CASE("gradients of a tiny ResNet") {
  Generator generator(2);
  ResNet::Options options = tiny();
  options.stem_bias = true;
  options.fc_features = 3;
  ResNet net(options, generator);
  const GradcheckOptions tolerances{.relative_tolerance = 1e-5, .absolute_tolerance = 1e-7};
  SUBCASE("in training") {
    const auto result = testing::gradcheck_module(net, images({2, 9, 8, 3}), tolerances);
    CHECK_MESSAGE(result, result.message);
  }
  SUBCASE("in evaluation") {
    net.eval();
    const auto result = testing::gradcheck_module(net, images({1, 8, 8, 3}), tolerances);
    CHECK_MESSAGE(result, result.message);
  }
}

TEST_CASE("a ResNet with checkpointed activations trains to the same bits") {
  Generator a(2), b(2);
  ResNet plain(tiny(), a), checkpointed(tiny(), b);
  checkpointed.checkpoint_activations();
  int outputs = 0;
  const ForwardObserver observer(
      [&](const std::string& path, const Tensor&) { outputs += path == "layer2.0.downsample.1"; });
  for (int step = 0; step < 2; ++step) {
    CHECK(same_bits(forward_backward(checkpointed), forward_backward(plain)));
    check_same_state(checkpointed, plain);
  }
  CHECK(outputs == 4);  // not those of the second time
  CHECK(plain.bn1.num_batches_tracked.item<std::int64_t>() == 2);
  checkpointed.eval();
  plain.eval();
  CHECK(same_bits(forward_backward(checkpointed), forward_backward(plain)));
  check_same_state(checkpointed, plain);
}

TEST_CASE("backward does not need the network, only its parameters") {
  Generator a(2), b(2);
  ResNet kept(tiny(), a);
  auto gone = std::make_unique<ResNet>(tiny(), b);
  kept.to(test_device());
  gone->to(test_device());
  Variable x(images({2, 9, 8, 3}, DType::float32), true);
  const auto gradient = [&](ResNet& net) {
    const Variable loss = sum(square(net(x)));
    if (&net == gone.get()) gone.reset();
    loss.backward();
    const Tensor dx = x.grad();
    x.zero_grad();
    return dx;
  };
  const Tensor expected = gradient(kept);
  CHECK(same_bits(gradient(*gone), expected));
}

TEST_CASE("checkpointed activations are computed again as they were, fused or layer by layer") {
  ResNet::Options options = tiny();
  options.width = 16;
  Generator a(2), b(2);
  ResNet plain(options, a), checkpointed(options, b);
  checkpointed.checkpoint_activations();
  const auto train_layer_by_layer = [](ResNet& net) {
    net.to(test_device());
    std::optional<NoFusion> layer_by_layer(std::in_place);
    const Variable x(images({3, 9, 8, 3}, DType::float32).to(DType::bfloat16));
    const Variable y = sum(square(net(x)));
    layer_by_layer.reset();
    y.backward();
  };
  train_layer_by_layer(plain);
  train_layer_by_layer(checkpointed);
  check_same_state(checkpointed, plain);
}

TEST_CASE("checkpointed activations in another mode than before are refused") {
  Generator generator(2);
  ResNet net(tiny(), generator);
  net.to(test_device());
  net.checkpoint_activations();
  const auto backward_after = [&](const std::function<void()>& change) {
    net.train();
    const Variable loss = sum(square(net(Variable(images({2, 9, 8, 3}, DType::float32)))));
    change();
    loss.backward();
  };
  constexpr const char* message =
      "[checkpoint] train() or eval() was called between the forward pass and backward";
  CHECK_ERROR(backward_after([&] { net.eval(); }), message);
  CHECK_ERROR(backward_after([&] { net.bn1.eval(); }), message);
  CHECK_ERROR(backward_after([&] { net.layer3[0].eval(); }), message);
  backward_after([] {});
}

TEST_CASE("checkpointed activations take less memory" * cpu_only()) {
  const auto peak = [](bool checkpointed) {
    Generator generator(2);
    ResNet net({.layers = {3, 1, 1, 1}, .width = 8}, generator);
    net.checkpoint_activations(checkpointed);
    const Variable x(images({16, 32, 32, 3}, DType::float32));
    const std::size_t start = memory_stats().in_use;
    reset_peak_memory();
    sum(square(net(x))).backward();
    return static_cast<double>(memory_stats().peak_in_use - start);
  };
  // Each thread has scratch of its own, which is no activation.
  const auto peak_of_one_thread = [&](bool checkpointed) {
    return with_threads(1, [&] { return peak(checkpointed); });
  };
  CHECK(peak_of_one_thread(true) < 0.75 * peak_of_one_thread(false));

  Generator generator(2);
  ResNet net({.layers = {1, 1, 1, 1}, .width = 8}, generator);
  net.checkpoint_activations();
  const Variable x(images({16, 32, 32, 3}, DType::float32));
  const std::size_t start = memory_stats().in_use;
  const Variable y = net(x);
  // What the stem gives is not kept: only what layer2, layer3 and layer4 take.
  constexpr double stem = 16 * 32 * 32 * 8 * sizeof(float);
  CHECK(static_cast<double>(memory_stats().in_use - start) == near(1.75 * stem, 0.02));
}

TEST_CASE("a residual block keeps three activations on the CPU, the stem one" * cpu_only()) {
  Generator generator(2);
  BasicBlock block({.in_channels = 16, .out_channels = 16}, generator),
      wider({.in_channels = 16, .out_channels = 32, .stride = 2}, generator);
  Conv2d conv({.in_channels = 16, .out_channels = 16, .kernel = 3, .padding = 1, .bias = false},
              generator);
  BatchNorm2d norm({.channels = 16});
  const Variable x(images({4, 32, 32, 16}, DType::float32), true);
  const std::size_t bytes = x.value().bytes(), start = memory_stats().in_use;
  const auto kept = [&](const auto& function) {
    const Variable y = function(x);
    return static_cast<double>(memory_stats().in_use - start) / static_cast<double>(bytes);
  };
  // Of conv1, conv2 and the block itself; x is there anyway.
  CHECK(kept(std::ref(block)) == near(3, 0.002));
  CHECK(kept(std::ref(wider)) == near(1.5, 0.005));  // of half the size
  CHECK(kept([&](const Variable& in) { return fused::conv_norm_relu(conv, norm, in); }) ==
        near(1, 0.002));
  {
    const NoFusion one_by_one;  // and of the first ReLU
    CHECK(kept(std::ref(block)) == near(4, 0.002));
  }
  const NoGrad no_grad;
  CHECK(kept(std::ref(block)) == near(1, 0.002));
}

TEST_CASE("zero_init_residual makes each block start as its shortcut") {
  Generator generator(2);
  ResNet::Options options = tiny();
  options.zero_init_residual = true;
  ResNet net(options, generator);
  net.to(test_device());
  const Variable x(abs(images({2, 8, 8, 2}, DType::float32)));
  CHECK(net.layer1(x).value().to_vector<float>() == x.value().to_vector<float>());
  for (const auto& [name, variable] : net.parameters()) {
    if (!name.ends_with("bn2.weight")) continue;
    CHECK(variable->value().to_vector<float>() ==
          std::vector<float>(static_cast<std::size_t>(variable->numel())));
  }
}

TEST_CASE("errors name the layer deep inside the model") {
  Generator generator(2);
  VICRegModel model({.encoder = tiny(), .projector_widths = {4, 4}}, generator);
  CHECK_THROWS_WITH_AS(model(Variable(zeros({2, 8, 8, 1}))),
                       "encoder.conv1 (Conv2d): [conv2d] weight's input channels must match the "
                       "input's last dimension; got input [2, 8, 8, 1], weight [2, 3, 3, 3]",
                       Error);
  CHECK_THROWS_WITH_AS(model(Variable(zeros({1, 8, 8, 3}))),
                       "encoder.layer4.0.bn1 (BatchNorm): [batch_norm] training needs more than "
                       "one value per channel; got "
                       "input [1, 1, 1, 16]: use a larger batch, or eval()",
                       Error);
  CHECK_THROWS_AS(count({.layers = {1, 0, 1, 1}}), Error);
}

TEST_CASE("convolutions start as torchvision's: normal, by the fan out" * cpu_only()) {
  Generator generator(2);
  ResNet net({.layers = {1, 1, 1, 1}, .width = 16, .stem = Stem::imagenet}, generator);
  const auto deviation_of = [](const Conv2d& conv) {
    return std::sqrt(variance(conv.weight.value()).to(DType::float64).item<double>());
  };
  CHECK(deviation_of(net.conv1) == near(std::sqrt(2.0 / (16 * 49)), 0.05));  // 2,352 draws
  for (const NamedParameter& parameter : net.parameters()) {
    if (!parameter.name.ends_with("conv1.weight") || parameter.name == "conv1.weight") continue;
    CAPTURE(parameter.name);
    const Tensor& weight = parameter.variable->value();
    const double fan_out = static_cast<double>(weight.size(0)) * 9;
    CHECK(std::sqrt(variance(weight).to(DType::float64).item<double>()) ==
          near(std::sqrt(2 / fan_out), 0.06));
  }
}

TEST_CASE("equal seeds give equal models; the CIFAR stem has PyTorch's default start" *
          cpu_only()) {
  Generator a(5), b(5), c(5);
  ResNet first(tiny(), a), second(tiny(), b);
  CHECK(first.layer4[0].parameters()[0].variable->value().to_vector<float>() ==
        second.layer4[0].parameters()[0].variable->value().to_vector<float>());
  const Conv2d plain({.in_channels = 3, .out_channels = 2, .kernel = 3, .bias = false}, c);
  CHECK(first.conv1.weight.value().to_vector<float>() == plain.weight.value().to_vector<float>());
}
