#include <doctest/doctest.h>

#include <gradus/tensor/ops.h>
#include "tests/support/compare.h"
#include "tests/support/conv2d_reference.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"

using namespace gradus;
using namespace gradus::test;

namespace {

struct Case {
  const char* name;
  Shape input, weight;
  Conv2dOptions options = {};
};

const std::vector<Case> cases = {
    {"one pixel", {1, 1, 1, 1}, {1, 1, 1, 1}},
    {"1x1", {2, 5, 7, 9}, {11, 1, 1, 9}},
    {"1x1, stride 2", {3, 7, 6, 5}, {4, 1, 1, 5}, {.stride = 2}},
    {"1x1, padding", {2, 3, 4, 5}, {6, 1, 1, 5}, {.padding = {1, 2}}},
    {"1x1, groups", {2, 3, 4, 6}, {9, 1, 1, 2}, {.groups = 3}},
    {"3x3", {2, 9, 8, 5}, {7, 3, 3, 5}},
    {"3x3, padding", {2, 9, 8, 5}, {7, 3, 3, 5}, {.padding = 1}},
    {"3x3, one-pixel images", {4, 1, 1, 3}, {5, 3, 3, 3}, {.padding = 1}},
    {"3x3, stride 2", {2, 9, 10, 4}, {6, 3, 3, 4}, {.stride = 2, .padding = 1}},
    {"3x3, unused border", {1, 8, 10, 4}, {3, 3, 3, 4}, {.stride = 3}},
    {"3x3, stride larger than kernel", {2, 11, 12, 3}, {2, 3, 3, 3}, {.stride = {5, 4}}},
    {"3x3, padding larger than kernel", {1, 4, 3, 2}, {3, 3, 3, 2}, {.padding = {4, 5}}},
    {"3x3, dilation 2", {2, 9, 8, 3}, {4, 3, 3, 3}, {.padding = 2, .dilation = 2}},
    {"3x3, dilation by height", {2, 9, 8, 3}, {4, 3, 3, 3}, {.stride = {1, 2}, .dilation = {3, 1}}},
    {"3x3, groups 2", {2, 6, 7, 4}, {6, 3, 3, 2}, {.stride = 2, .padding = 1, .groups = 2}},
    {"depthwise", {2, 6, 7, 5}, {5, 3, 3, 1}, {.padding = 1, .groups = 5}},
    {"depthwise, two outputs a channel", {2, 6, 7, 3}, {6, 3, 3, 1}, {.padding = 1, .groups = 3}},
    {"5x3", {2, 7, 9, 3}, {4, 5, 3, 3}, {.stride = {2, 1}, .padding = {2, 0}}},
    {"7x7, larger than the image", {2, 5, 4, 3}, {8, 7, 7, 3}, {.stride = 2, .padding = 3}},
    {"groups, several blocks of pixels a part",
     {9, 21, 23, 8},
     {8, 3, 3, 2},
     {.padding = 1, .groups = 4}},
    {"empty batch", {0, 5, 5, 3}, {4, 3, 3, 3}, {.padding = 1}},
    {"images without rows", {2, 0, 5, 16}, {16, 3, 3, 16}, {.padding = 2}},
    {"several blocks of pixels", {5, 17, 19, 16}, {24, 3, 3, 16}, {.padding = 1}},
    {"several tiles of weights", {8, 8, 8, 115}, {260, 3, 3, 115}, {.padding = 1}},
};

struct Inputs {
  Tensor input, weight, bias, doutput;
};

Inputs random_inputs(const Case& c, DType dtype) {
  Generator generator(7);
  const auto draw = [&](const Shape& shape) {
    return uniform(shape, -1, 1, generator, device_options(dtype));
  };
  Inputs in{draw(c.input), draw(c.weight), draw({c.weight[0]}), {}};
  in.doutput = draw(conv2d(in.input, in.weight, {}, c.options).shape());
  return in;
}

Conv2dReference run_ops(const Inputs& in, const Conv2dOptions& options) {
  return {conv2d(in.input, in.weight, in.bias, options),
          conv2d_backward_input(in.doutput, in.weight, in.input.shape(), options),
          conv2d_backward_weight(in.doutput, in.input, in.weight.shape(), options), in.bias};
}

}  // namespace

TEST_CASE("conv2d and its gradients match nested loops") {
  for (const DType dtype : {DType::float32, DType::float64}) {
    CAPTURE(name(dtype));
    for (const Case& c : cases) {
      const std::string case_name = c.name;
      CAPTURE(case_name);
      // Winograd's transforms lose a digit: on the GPU, and in float32 with many channels on the
      // CPU.
      const bool gpu = test_device() == Device::cuda;
      const double tolerance = dtype == DType::float64   ? 1.6e-14
                               : gpu || c.input[3] >= 16 ? 1e-5
                                                         : 4e-6;
      const Inputs in = random_inputs(c, dtype);
      const Conv2dReference expected =
          conv2d_reference(in.input, in.weight, in.bias, in.doutput, c.options);
      const Conv2dReference actual = run_ops(in, c.options);
      CHECK(relative_error(actual.output, expected.output) <= tolerance);
      CHECK(relative_error(actual.dinput, expected.dinput) <= tolerance);
      CHECK(relative_error(actual.dweight, expected.dweight) <= tolerance);
    }
  }
}

TEST_CASE("conv2d without bias equals conv2d with a bias of zeros") {
  const TensorOptions options = device_options();
  const Tensor x = full({1, 3, 3, 2}, 1.5, options), w = full({4, 2, 2, 2}, 0.25, options);
  CHECK(same_bits(conv2d(x, w), conv2d(x, w, zeros({4}, options))));
  CHECK(conv2d(x, w).to_vector<float>() == std::vector<float>(16, 3.0F));
}

TEST_CASE("conv2d overwrites whatever its memory held") {
  // A freed block of NaN is what the next tensor of its size gets.
  const TensorOptions options = device_options();
  const auto poison = [&](const Shape& shape) { full(shape, std::nan(""), options); };
  const Shape shape{2, 4, 4, 8};
  const Tensor x = ones(shape, options), w = ones({8, 3, 3, 8}, options);
  for (int i = 0; i < 3; ++i) poison(shape);
  poison(w.shape());
  CHECK(all_finite(conv2d(x, w, {}, {.padding = 1})));
  CHECK(all_finite(conv2d_backward_input(x, w, shape, {.padding = 1})));
  CHECK(all_finite(conv2d_backward_weight(x, x, w.shape(), {.padding = 1})));
}

TEST_CASE("conv2d gives the same bits for any number of threads" * cpu_only()) {
  const std::vector<Case> large = {
      {"3x3", {9, 15, 17, 40}, {72, 3, 3, 40}, {.padding = 1}},
      {"3x3, stride 2", {9, 32, 31, 16}, {32, 3, 3, 16}, {.stride = 2, .padding = 1}},
      {"1x1", {9, 16, 16, 32}, {48, 1, 1, 32}},
      {"many weights", {9, 8, 8, 160}, {300, 3, 3, 160}, {.padding = 1}},
  };
  for (const Case& c : large) {
    const std::string case_name = c.name;
    CAPTURE(case_name);
    const Inputs in = random_inputs(c, DType::float32);
    const auto one = with_threads(1, [&] { return run_ops(in, c.options); });
    for (const int threads : {2, 3}) {
      const auto several = with_threads(threads, [&] { return run_ops(in, c.options); });
      CHECK(same_bits(one.output, several.output));
      CHECK(same_bits(one.dinput, several.dinput));
      CHECK(same_bits(one.dweight, several.dweight));
    }
  }
}

TEST_CASE("conv2d says what is wrong with its arguments") {
  const Tensor x = zeros({8, 32, 32, 3}), w = zeros({64, 3, 3, 3});
  const auto message = [&](const Tensor& input, const Tensor& weight, const Tensor& bias = {},
                           const Conv2dOptions& options = {}) {
    return error_of([&] { conv2d(input, weight, bias, options); });
  };
  CHECK(message(x, zeros({64, 3, 3, 4})) ==
        "[conv2d] weight's input channels must match the input's last dimension; got input "
        "[8, 32, 32, 3], weight [64, 3, 3, 4]");
  CHECK(message(zeros({8, 3}), w) == "[conv2d] input must be [N, H, W, C]; got [8, 3]");
  CHECK(message(x, zeros({64, 27})) ==
        "[conv2d] weight must be [O, kH, kW, C / groups]; got [64, 27]");
  CHECK(message(x, w, zeros({3})) == "[conv2d] bias must have shape [64]; got [3]");
  CHECK(message(x, w, {}, {.stride = {1, 0}}) == "[conv2d] stride must be at least 1; got 1 x 0");
  CHECK(message(x, w, {}, {.padding = -1}) == "[conv2d] padding must not be negative; got -1 x -1");
  CHECK(message(x, w, {}, {.dilation = 0}) == "[conv2d] dilation must be at least 1; got 0 x 0");
  CHECK(message(x, w, {}, {.groups = 0}) == "[conv2d] groups must be at least 1; got 0");
  CHECK(message(x, w, {}, {.groups = 2}) ==
        "[conv2d] groups (2) must divide the input's 3 and the weight's 64 output channels");
  CHECK(message(zeros({1, 2, 2, 3}), w) ==
        "[conv2d] the kernel is larger than the padded image; got input [1, 2, 2, 3], weight "
        "[64, 3, 3, 3], padding 0 x 0, dilation 1 x 1");
  CHECK(message(x.to(DType::float64), w).starts_with("[conv2d] input and weight must have one"));
  CHECK(message({}, w).starts_with("[conv2d] input is undefined"));
  CHECK(message(zeros({1, 4, 4, 3}, {.dtype = DType::uint8}),
                zeros({1, 3, 3, 3}, {.dtype = DType::uint8}))
            .starts_with("[conv2d] input must be float32"));
  CHECK(error_of([&] {
          conv2d_backward_input(x, w, {8, 32, 32, 3});
        }) ==
        "[conv2d_backward_input] doutput must have shape [8, 30, 30, 64]; got [8, 32, 32, 3]");
  CHECK(error_of([&] {
          conv2d_backward_weight(x, x, {64, 3, 3, 3});
        }) ==
        "[conv2d_backward_weight] doutput must have shape [8, 30, 30, 64]; got [8, 32, 32, 3]");
}
