#include <doctest/doctest.h>

#include <cmath>

#include <gradus/nn/activation.h>
#include <gradus/nn/batch_norm.h>
#include <gradus/nn/conv2d.h>
#include <gradus/nn/dropout.h>
#include <gradus/nn/linear.h>
#include <gradus/nn/pooling.h>
#include <gradus/nn/sequential.h>
#include <gradus/nn/shape_layers.h>
#include <gradus/tensor/repeated_work.h>
#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/module_gradcheck.h"
#include "tests/support/near.h"

using namespace gradus;
using namespace gradus::nn;
using gradus::testing::gradcheck_module;
using namespace gradus::test;

namespace {

constexpr TensorOptions float64{DType::float64};

Tensor random_input(const Shape& shape, std::uint64_t seed = 3) {
  Generator generator(seed);
  return uniform(shape, -1, 1, generator, float64);
}

/// Distinct values, none near 0: away from the kinks of ReLU and max-pooling.
Tensor separated_input(const Shape& shape) {
  Generator generator(5);
  const Tensor order = permutation(shape.numel(), generator).to(DType::float64).reshape(shape);
  return affine(order, 0.1, -0.05 * static_cast<double>(shape.numel()) + 0.03);
}

}  // namespace

TEST_CASE("gradients of layers") {
  Generator generator(1);
  SUBCASE("linear") {
    Linear layer({.in_features = 5, .out_features = 3}, generator);
    CHECK_MESSAGE(gradcheck_module(layer, random_input({4, 5})), "[N, in]");
    CHECK_MESSAGE(gradcheck_module(layer, random_input({2, 3, 5})), "[A, B, in]");
  }
  SUBCASE("linear without bias") {
    Linear layer({.in_features = 1, .out_features = 1, .bias = false}, generator);
    CHECK(gradcheck_module(layer, random_input({1, 1})));
  }
  SUBCASE("conv2d") {
    Conv2d layer({.in_channels = 3, .out_channels = 2, .kernel = 3, .stride = 2, .padding = 1},
                 generator);
    CHECK(gradcheck_module(layer, random_input({2, 5, 6, 3})));
  }
  SUBCASE("conv2d without bias, in groups") {
    Conv2d layer({.in_channels = 4,
                  .out_channels = 6,
                  .kernel = {1, 3},
                  .dilation = {1, 2},
                  .groups = 2,
                  .bias = false},
                 generator);
    CHECK(gradcheck_module(layer, random_input({1, 2, 7, 4})));
  }
  SUBCASE("activations") {
    ReLU relu_layer;
    CHECK(gradcheck_module(relu_layer, separated_input({3, 4})));
    GELU gelu_layer;
    CHECK(gradcheck_module(gelu_layer, random_input({3, 4})));
  }
  SUBCASE("pooling") {
    MaxPool2d max_pool({.kernel = 3, .stride = 2, .padding = 1});
    CHECK(gradcheck_module(max_pool, separated_input({2, 5, 5, 2})));
    AvgPool2d avg_pool({.kernel = 2, .stride = 2});
    CHECK(gradcheck_module(avg_pool, random_input({2, 4, 5, 3})));
    GlobalAvgPool2d global;
    CHECK(gradcheck_module(global, random_input({2, 3, 4, 5})));
  }
  SUBCASE("batch norm") {
    BatchNorm layer({.channels = 3});
    layer.weight.value().copy_from(from_vector<float>({0.5F, -1.5F, 2.0F}, {3}));
    layer.bias.value().copy_from(from_vector<float>({0.1F, 0.2F, -0.3F}, {3}));
    CHECK_MESSAGE(gradcheck_module(layer, random_input({5, 3})), "[N, C]");
    CHECK_MESSAGE(gradcheck_module(layer, random_input({2, 3, 2, 3})), "[N, H, W, C]");
    layer.eval();
    CHECK_MESSAGE(gradcheck_module(layer, random_input({1, 3})), "evaluation");
    BatchNorm plain({.channels = 2, .affine = false});
    CHECK_MESSAGE(gradcheck_module(plain, random_input({4, 2})), "without weight and bias");
  }
  SUBCASE("sequential") {
    Sequential layers;
    layers.add<Flatten>();
    layers.add<Linear>({6, 4}, generator);
    layers.add<GELU>();
    layers.add<Identity>();
    CHECK(gradcheck_module(layers, random_input({3, 1, 2, 3})));
  }
}

TEST_CASE("layers take their options and compute what their names say") {
  Generator generator(1);
  Conv2d dilated({.in_channels = 1, .out_channels = 1, .kernel = {1, 3}, .dilation = {1, 2}},
                 generator);
  dilated.to(test_device());
  CHECK(dilated(ones({1, 1, 5, 1}, device_options())).shape() == Shape{1, 1, 1, 1});

  BatchNorm norm_layer({.channels = 1, .eps = 3, .affine = false});
  norm_layer.to(test_device());
  const Tensor pair = device_vector<float>({0, 2}, {2, 1});  // variance 1
  const Tensor expected = from_vector<float>({-0.5F, 0.5F}, {2, 1});
  CHECK(max_difference(norm_layer(pair).value(), expected) < 1e-6);

  const Tensor window = device_vector<float>({1, 2, 3, 6}, {1, 2, 2, 1});
  CHECK(MaxPool2d({.kernel = 2})(window).item<float>() == 6);
  CHECK(AvgPool2d({.kernel = 2})(window).item<float>() == 3);
  CHECK(GlobalAvgPool2d()(window).item<float>() == 3);
}

TEST_CASE("initial weights: PyTorch's bounds, float and double alike, in the order of drawing" *
          cpu_only()) {
  Generator generator(11);
  const Linear layer({.in_features = 16, .out_features = 400}, generator);
  CHECK(generator.position() == 16 * 400 / 2 + 400 / 2);
  CHECK(max_abs(layer.weight.value()) <= 0.25);
  CHECK(max_abs(layer.weight.value()) > 0.249);
  Generator again(11);
  CHECK(same_bits(layer.weight.value(), uniform({400, 16}, -0.25, 0.25, again)));
  CHECK(same_bits(layer.bias.value(), uniform({400}, -0.25, 0.25, again)));

  const Conv2d conv({.in_channels = 4, .out_channels = 64, .kernel = 3}, generator);
  CHECK(max_abs(conv.weight.value()) <= 1 / 6.0 + 1e-7);
  CHECK(max_abs(conv.weight.value()) > 0.166);
  CHECK(max_abs(conv.bias.value()) <= 1 / 6.0 + 1e-7);
  CHECK(max_abs(conv.bias.value()) > 0.15);
  const Conv2d grouped({.in_channels = 64, .out_channels = 64, .kernel = 3, .groups = 16},
                       generator);  // 4 channels of input an output
  CHECK(max_abs(grouped.weight.value()) <= 1 / 6.0 + 1e-7);
  CHECK(max_abs(grouped.weight.value()) > 0.166);

  const Conv2d he({.in_channels = 64,
                   .out_channels = 32,
                   .kernel = 3,
                   .bias = false,
                   .init = ConvInit::kaiming_normal_fan_out},
                  generator);
  const double deviation = std::sqrt(variance(he.weight.value()).to(DType::float64).item<double>());
  CHECK(deviation == near(std::sqrt(2.0 / (32 * 9)), 0.02));  // 18432 draws
}

TEST_CASE("batch norm tracks the mean and the unbiased variance") {
  BatchNorm layer({.channels = 2, .momentum = 0.25});
  CHECK_ERROR(layer.to(DType::bfloat16),
              "[to] parameters must be float32 or float64; got bfloat16");
  layer.to(DType::float64);
  layer.to(test_device());
  const Tensor x = device_vector<double>({1, 10, 2, 20, 6, 60}, {3, 2});  // means 3, 30; var 7, 700
  const Tensor y = layer(Variable(x)).value();
  CHECK(std::abs(mean(y).item<double>()) < 1e-15);
  const auto running_mean = layer.running_mean.to_vector<double>();
  const auto running_var = layer.running_var.to_vector<double>();
  CHECK(running_mean[0] == near(0.25 * 3, 1e-15));
  CHECK(running_mean[1] == near(0.25 * 30, 1e-15));
  CHECK(running_var[0] == near(0.75 + 0.25 * 7, 1e-15));
  CHECK(running_var[1] == near(0.75 + 0.25 * 700, 1e-15));
  CHECK(layer.num_batches_tracked.item<std::int64_t>() == 1);

  layer.eval();
  const auto evaluated = layer(Variable(x)).value().to_vector<double>();
  CHECK(evaluated[0] == near((1 - 0.75) / std::sqrt(2.5 + 1e-5), 1e-15));
  CHECK(layer.num_batches_tracked.item<std::int64_t>() == 1);
  CHECK(layer.running_mean.to_vector<double>() == running_mean);
}

TEST_CASE("batch norm updates its running statistics in place unless others hold them") {
  BatchNorm layer({.channels = 2});
  layer.to(test_device());
  const Variable x(on_device(random_input({4, 2}).to(DType::float32)));
  const void* const mean = layer.running_mean.raw();
  const void* const count = layer.num_batches_tracked.raw();
  layer(x);
  CHECK(layer.running_mean.raw() == mean);
  CHECK(layer.num_batches_tracked.raw() == count);
  const Tensor held = layer.running_mean;
  const std::vector<float> values = held.to_vector<float>();
  layer(x);
  CHECK(held.to_vector<float>() == values);
  CHECK(layer.running_mean.to_vector<float>() != values);
  CHECK(layer.num_batches_tracked.item<std::int64_t>() == 2);
}

TEST_CASE("batch norm of bfloat16 activations keeps its parameters and statistics in float32") {
  const Tensor x = on_device(random_input({4, 3, 5, 2}).to(DType::bfloat16));
  const Tensor dy = on_device(random_input({4, 3, 5, 2}, 10).to(DType::bfloat16));
  const auto run = [&](DType dtype) {
    BatchNorm layer({.channels = 2});
    layer.to(test_device());
    const Variable input(x.to(dtype), true);
    const Variable y = layer(input);
    y.backward(dy.to(dtype));
    CHECK(y.dtype() == dtype);
    CHECK(input.grad().dtype() == dtype);
    CHECK(layer.weight.grad().dtype() == DType::float32);
    std::vector<Tensor> results = {y.value(),         input.grad(),       layer.weight.grad(),
                                   layer.bias.grad(), layer.running_mean, layer.running_var};
    for (Tensor& result : results) result = result.to(DType::float64);
    return results;
  };
  const auto actual = run(DType::bfloat16), expected = run(DType::float32);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    CHECK(relative_error(actual[i], expected[i]) <= 5e-3);  // 2^-8, rounded once
  }
}

TEST_CASE("gradients of batch norm with ReLU in a sequence") {
  Generator generator(4);
  Sequential layers;
  layers.add<Linear>({5, 4}, generator);
  layers.add<BatchNorm>({.channels = 4});
  layers.add<ReLU>();
  layers.add<Linear>({4, 2}, generator);
  CHECK(gradcheck_module(layers, random_input({6, 5})));
  CHECK_THROWS_WITH_AS(
      layers(Variable(ones({1, 5}, device_options(DType::float64)))),
      "1 (BatchNorm): [batch_norm] training needs more than one value per channel; got input "
      "[1, 4]: use a larger batch, or eval()",
      Error);
}

TEST_CASE("batch norm cannot train on one value per channel") {
  BatchNorm layer({.channels = 3});
  CHECK_THROWS_WITH_AS(layer(Variable(ones({1, 3}))),
                       "[batch_norm] training needs more than one value per channel; got input "
                       "[1, 3]: use a larger batch, or eval()",
                       Error);
  CHECK_NOTHROW(layer(Variable(ones({1, 1, 2, 3}))));
  layer.eval();
  CHECK_NOTHROW(layer(Variable(ones({1, 3}))));
}

TEST_CASE("use_winograd: every convolution of a module, from the next call on" * cpu_only()) {
  Generator generator(1);
  Sequential net;
  auto& conv = net.add<Conv2d>(
      {.in_channels = 64, .out_channels = 64, .kernel = 3, .padding = 1, .bias = false}, generator);
  const Tensor x = normal({8, 16, 16, 64}, 0, 1, generator);
  const auto run = [&](bool on, bool on_in_backward) {
    net.zero_grad();
    use_winograd(net, on);
    const Variable y = net(x);
    use_winograd(net, on_in_backward);
    y.backward(ones(y.shape()));
    return std::vector{y.value(), conv.weight.grad()};
  };
  const auto fast = run(true, true), plain = run(false, false), plain_changed = run(false, true);
  for (std::size_t i = 0; i < fast.size(); ++i) {
    CAPTURE(i);
    CHECK_FALSE(same_bits(plain[i], fast[i]));
    CHECK(rms_error(plain[i], fast[i]) <= 1e-5);
    CHECK(same_bits(plain_changed[i], plain[i]));  // backward goes the way of forward
  }
  CHECK(same_bits(plain[0], conv2d(x, conv.weight.value(), {}, {.padding = 1, .winograd = false})));
}

TEST_CASE("layers say which input they expect") {
  Generator generator(1);
  Conv2d conv({.in_channels = 3, .out_channels = 4, .kernel = 3}, generator);
  CHECK_THROWS_WITH_AS(
      conv(Variable(zeros({1, 8, 8, 4}))),
      "[conv2d] weight's input channels must match the input's last dimension; got input [1, 8, 8, "
      "4], weight [4, 3, 3, 3]",
      Error);
  CHECK_THROWS_AS(conv(Variable(zeros({8, 8, 3}))), Error);
  BatchNorm norm_layer({.channels = 3});
  CHECK_THROWS_WITH_AS(norm_layer(Variable(zeros({2, 4}))),
                       "[batch_norm] the input must be [..., channels = 3]; got input [2, 4]",
                       Error);
  CHECK_THROWS_AS(Linear({.in_features = 0, .out_features = 3}, generator), Error);
  CHECK_THROWS_AS(Conv2d({.in_channels = 3, .out_channels = 4, .groups = 2}, generator), Error);
  CHECK_THROWS_AS(BatchNorm({.channels = 0}), Error);
  CHECK_THROWS_WITH_AS(Dropout({.p = 1}, generator)(Variable(zeros({2}))),
                       "[dropout] the probability must be in [0, 1); got 1", Error);
  CHECK_THROWS_AS(Dropout({.p = -0.5}, generator)(Variable(zeros({2}))), Error);
}

TEST_CASE("dropout: off in evaluation, scaled in training, resumable") {
  Generator generator(9);
  Dropout layer({.p = 0.25}, generator);
  const Variable x(ones({1000}, device_options()));
  const auto first = layer(x).value().to_vector<float>();
  const auto second = layer(x).value().to_vector<float>();
  CHECK(first != second);
  std::int64_t kept = 0;
  for (const float value : first) {
    CHECK((value == 0.0F || value == near(1 / 0.75)));
    kept += value != 0.0F;
  }
  CHECK(kept > 700);
  CHECK(kept < 800);

  Generator& own = *layer.generators().at(0).generator;
  own.set_position(0);
  CHECK(layer(x).value().to_vector<float>() == first);
  layer.eval();
  CHECK(layer(x).value().to_vector<float>() == x.value().to_vector<float>());
}

TEST_CASE("a running statistic that is shared is not recorded, since replays would not update it") {
  BatchNorm norm({.channels = 2});
  norm.to(test_device());
  const Variable x(on_device(random_input({5, 2}).to(DType::float32)));
  RepeatedWork work(test_device(), [&] { norm(x); });
  for (int i = 0; i < 2; ++i) work.run();
  const Tensor shared = norm.running_mean, before = shared.clone();
  for (int i = 0; i < 3; ++i) work.run();
  CHECK_FALSE(work.replays());
  if (test_device() == Device::cuda)
    CHECK(work.failure().find("running statistic is shared") != std::string::npos);
  CHECK(norm.num_batches_tracked.item<std::int64_t>() == 5);
  CHECK(same_bits(shared, before));
}

TEST_CASE(
    "dropout layers of one generator draw masks of their own, and none of the weights' numbers") {
  Generator generator(9);
  Dropout a({.p = 0.5}, generator), b({.p = 0.5}, generator);
  const Linear linear({.in_features = 40, .out_features = 25, .bias = false}, generator);
  Dropout c({.p = 0.5}, generator);
  const Variable x(ones({1000}, device_options()));
  const auto kept = [&x](Dropout& layer) {
    std::vector<bool> result;
    for (const float value : layer(x).value().to_vector<float>()) result.push_back(value != 0.0F);
    return result;
  };
  std::vector<bool> upper;  // a weight that is drawn uniformly, against the middle
  for (const float value : linear.weight.value().to_vector<float>()) upper.push_back(value >= 0.0F);
  const std::vector<std::vector<bool>> masks = {kept(a), kept(b), kept(c), upper};
  for (std::size_t i = 0; i < masks.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      std::int64_t equal = 0;
      for (std::size_t k = 0; k < 1000; ++k) equal += masks[i][k] == masks[j][k];
      CHECK(std::abs(equal - 500) < 80);  // five standard deviations
    }
  }
}

TEST_CASE("batch norm's options must make sense") {
  const auto make = [](double eps, double momentum) {
    BatchNorm({.channels = 3, .eps = eps, .momentum = momentum});
  };
  const double nan = std::nan(""), infinity = HUGE_VAL;
  for (const double bad : {-1.0, 1.5, nan, infinity}) {
    CHECK_THROWS_WITH_AS(make(1e-5, bad), doctest::Contains("momentum must be in [0, 1]"), Error);
  }
  for (const double bad : {-1.0, nan, infinity}) {
    CHECK_THROWS_WITH_AS(make(bad, 0.1), doctest::Contains("[batch_norm] eps must"), Error);
  }
  CHECK_NOTHROW(make(0, 0));
  CHECK_NOTHROW(make(1e-5, 1));
}
