// The CPU's Winograd convolution, called directly, so that sizes that conv2d leaves to the column
// matrix are tested too.
#include "tensor/cpu/conv/winograd.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include <gradus/tensor/ops.h>
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/simd_levels.h"

using namespace gradus;
using namespace gradus::test;

namespace {

struct Case {
  std::int64_t N, H, W, C, O;
  Size2 padding;
  std::int64_t stride = 1;

  Conv2dGeometry geometry() const {
    return {.N = N,
            .H = H,
            .W = W,
            .C = C,
            .O = O,
            .out_height = (H + 2 * padding.height - 3) / stride + 1,
            .out_width = (W + 2 * padding.width - 3) / stride + 1,
            .kernel = 3,
            .stride = stride,
            .padding = padding};
  }
};

struct Passes {
  Tensor output, dinput, dweight;
};

/// max((x - mean) scale + shift, 0) by channel.
struct Activation {
  Tensor mean, scale, shift;

  Tensor apply(const Tensor& x) const {
    const auto wide = [&](const Tensor& channels) { return channels.to(x.dtype()); };
    return relu(add(mul(sub(x, wide(mean)), wide(scale)), wide(shift)));
  }
};

struct Inputs {
  Tensor input, weight, bias, doutput;
  Activation activation;

  /// Elements of type `dtype`; parameters are float32.
  explicit Inputs(const Conv2dGeometry& g, DType dtype = DType::float32) {
    Generator generator(11);
    const auto draw = [&](const Shape& shape) { return uniform(shape, -1, 1, generator); };
    input = draw({g.N, g.H, g.W, g.C}).to(dtype);
    weight = draw({g.O, 3, 3, g.C});
    bias = draw({g.O});
    doutput = draw({g.N, g.out_height, g.out_width, g.O}).to(dtype);
    activation = {draw({g.C}), draw({g.C}), draw({g.C})};
  }

  /// Tensors full of NaN are overwritten, so that nothing is left out or added to.
  template <class T>
  Passes winograd(const Conv2dGeometry& g, int side, bool activated = false) const {
    const auto poisoned = [](const Tensor& like) {
      return full(like.shape(), std::nan(""), options_of(like));
    };
    Passes result{poisoned(doutput), poisoned(input), poisoned(weight)};
    const T *x = input.data<T>(), *dy = doutput.data<T>();
    const float* w = weight.data<float>();
    const cpu::simd::Normalisation<float> norm{activation.mean.data<float>(),
                                               activation.scale.data<float>(),
                                               activation.shift.data<float>()};
    const cpu::simd::Normalisation<float>* first = activated ? &norm : nullptr;
    namespace winograd = cpu::winograd;
    winograd::conv2d<T>(x, first, w, bias.data<float>(), result.output.data<T>(), g, side);
    winograd::conv2d_backward_input<T>(dy, w, result.dinput.data<T>(), g, side);
    winograd::conv2d_backward_weight<T>(x, first, dy, result.dweight.data<float>(), g, side);
    return result;
  }

  /// In float64, which is never Winograd's.
  Passes reference(const Conv2dGeometry& g, bool activated = false) const {
    const auto wide = [](const Tensor& x) { return x.to(DType::float64); };
    const Conv2dOptions options{.stride = g.stride, .padding = g.padding};
    const Tensor x = activated ? activation.apply(wide(input)) : wide(input);
    return {conv2d(x, wide(weight), wide(bias), options),
            conv2d_backward_input(wide(doutput), wide(weight), input.shape(), options),
            conv2d_backward_weight(x, wide(doutput), weight.shape(), options)};
  }
};

}  // namespace

TEST_CASE("Winograd convolution matches plain sums for any shape" * cpu_only()) {
  const std::vector<Case> cases = {
      {1, 1, 1, 16, 16, 1},      {3, 1, 1, 17, 33, 2},        {1, 4, 4, 16, 64, 1},
      {3, 3, 3, 16, 16, 0},      {3, 5, 7, 17, 16, 1},        {1, 5, 7, 64, 17, 0},
      {3, 7, 5, 16, 31, {2, 0}}, {1, 9, 9, 17, 17, 2},        {3, 9, 9, 64, 64, {0, 1}},
      {3, 32, 32, 16, 17, 1},    {1, 32, 32, 64, 48, {1, 2}}, {2, 6, 6, 1, 1, 1},
      {1, 4, 4, 5, 200, 1},      {1, 4, 4, 200, 5, 1},        {20, 8, 8, 3, 2, 1},
      {2, 9, 12, 260, 270, 1},   {0, 5, 5, 16, 16, 1},        {1, 1, 1, 16, 16, 1, 2},
      {2, 2, 3, 5, 7, 1, 2},     {3, 8, 8, 16, 40, 1, 2},     {2, 9, 7, 17, 33, 1, 2},
      {2, 17, 16, 20, 64, 1, 2}, {1, 32, 32, 64, 70, 1, 2},   {1, 8, 8, 40, 200, 1, 2},
      {0, 8, 8, 16, 16, 1, 2},
  };
  for (const Case& c : cases) {
    const Conv2dGeometry g = c.geometry();
    CAPTURE(c.N);
    CAPTURE(c.H);
    CAPTURE(c.W);
    CAPTURE(c.C);
    CAPTURE(c.O);
    CAPTURE(c.padding.height);
    CAPTURE(c.padding.width);
    CAPTURE(c.stride);
    const Inputs in(g);
    const Passes expected = in.reference(g), activated = in.reference(g, true);
    const auto close = [](const Tensor& a, const Tensor& b) {
      return relative_error(a, b) <= 1.2e-5;
    };
    at_each_simd_level([&] {
      for (const int side : {2, 4}) {
        CAPTURE(side);
        if (c.stride == 2 && side == 2) continue;
        REQUIRE(cpu::winograd::supports(g, side));
        const Passes actual = in.winograd<float>(g, side);
        CHECK(close(actual.output, expected.output));
        CHECK(close(actual.dinput, expected.dinput));
        CHECK(close(actual.dweight, expected.dweight));
        const Passes of_activated = in.winograd<float>(g, side, true);
        CHECK(close(of_activated.output, activated.output));
        CHECK(close(of_activated.dweight, activated.dweight));
      }
    });
  }
}

TEST_CASE("Winograd convolution of bfloat16 loses no more than roundings explain" * cpu_only()) {
  for (const Case& c :
       {Case{1, 1, 1, 16, 16, 1}, Case{3, 5, 7, 17, 33, 1}, Case{3, 7, 5, 16, 31, {2, 0}},
        Case{2, 6, 6, 1, 1, 1}, Case{5, 9, 12, 70, 65, 1}, Case{0, 5, 5, 16, 16, 1},
        Case{4, 16, 16, 64, 64, 1}, Case{16, 4, 4, 256, 256, 1}, Case{3, 9, 7, 17, 33, 1, 2},
        Case{4, 16, 16, 64, 128, 1, 2}, Case{33, 16, 16, 128, 128, 1},
        Case{33, 32, 32, 64, 128, 1, 2}}) {
    const Conv2dGeometry g = c.geometry();
    CAPTURE(c.H);
    CAPTURE(c.C);
    const Inputs in(g, DType::bfloat16);
    const Passes expected = in.reference(g), activated = in.reference(g, true);
    at_each_simd_level([&] {
      for (const int side : {2, 4}) {
        CAPTURE(side);
        if (c.stride == 2 && side == 2) continue;
        REQUIRE(cpu::winograd::supports(g, side));
        // Root mean squares: 1.1e-2 and 0.4e-2 on the layers of a ResNet-18; few elements vary.
        const double tolerance = side == 4 ? 1.6e-2 : 0.7e-2;
        const Passes actual = in.winograd<BFloat16>(g, side);
        CHECK(rms_error(actual.output, expected.output) <= tolerance);
        CHECK(rms_error(actual.dinput, expected.dinput) <= tolerance);
        CHECK(rms_error(actual.dweight, expected.dweight) <= tolerance);
        const Passes of_activated = in.winograd<BFloat16>(g, side, true);
        CHECK(rms_error(of_activated.output, activated.output) <= tolerance);
        CHECK(rms_error(of_activated.dweight, activated.dweight) <= tolerance);
      }
    });
  }
}

TEST_CASE("Winograd convolution loses few digits on the layers of a ResNet-18" * cpu_only()) {
  for (const Case& c :
       {Case{4, 32, 32, 64, 64, 1}, Case{19, 16, 16, 128, 128, 1}, Case{16, 8, 8, 256, 256, 1},
        Case{80, 4, 4, 512, 512, 1}, Case{17, 32, 32, 64, 128, 1, 2},
        Case{8, 16, 16, 128, 256, 1, 2}, Case{16, 8, 8, 256, 512, 1, 2}}) {
    CAPTURE(c.C);
    CAPTURE(c.stride);
    const Conv2dGeometry g = c.geometry();
    CHECK(cpu::winograd::suits(g, 4));
    const Inputs in(g);
    const Passes expected = in.reference(g);
    for (const int side : {2, 4}) {
      if (c.stride == 2 && side == 2) continue;
      const Passes actual = in.winograd<float>(g, side);
      const double tolerance = side == 4 ? 2.5e-6 : 1e-6;
      CHECK(rms_error(actual.output, expected.output) <= tolerance);
      CHECK(rms_error(actual.dinput, expected.dinput) <= tolerance);
      CHECK(rms_error(actual.dweight, expected.dweight) <= tolerance);
    }
  }
}

TEST_CASE_TEMPLATE("Winograd convolution gives the same bits for any number of threads", T, float,
                   BFloat16) {
  for (const Case& c : {Case{9, 15, 17, 40, 72, 1}, Case{5, 8, 8, 160, 300, 1},
                        Case{75, 2, 2, 512, 512, 1}, Case{9, 15, 17, 40, 72, 1, 2},
                        Case{57, 16, 16, 128, 128, 1}, Case{33, 32, 32, 64, 128, 1, 2}}) {
    CAPTURE(c.C);
    const Conv2dGeometry g = c.geometry();
    const Inputs in(g, dtype_of<T>);
    const Passes one = with_threads(1, [&] { return in.winograd<T>(g, 4); });
    for (const int threads : {2, 3, 4, 20}) {
      CAPTURE(threads);
      const Passes several = with_threads(threads, [&] { return in.winograd<T>(g, 4); });
      CHECK(same_bits(one.output, several.output));
      CHECK(same_bits(one.dinput, several.dinput));
      CHECK(same_bits(one.dweight, several.dweight));
    }
  }
}

TEST_CASE("a pass over Winograd's outputs sees each block once, finished" * cpu_only()) {
  struct PassCase {
    Case c;
    std::int64_t pixels;  ///< of a block of the output's, and of dinput's
    bool forward, backward;
  };
  for (const auto& [c, pixels, forward, backward] :
       {PassCase{{36, 8, 8, 16, 16, 1}, 128, true, true},
        PassCase{{37, 8, 8, 16, 16, 1}, 128, true, true},   // half a block is left
        PassCase{{24, 16, 16, 16, 40, 1}, 64, true, true},  // some rows of tiles
        PassCase{{20, 7, 5, 16, 16, 1}, 35, true, true},    // images that tiles do not fill
        PassCase{{20, 7, 5, 16, 16, 1}, 20, false, false},  // half of one
        PassCase{{20, 8, 8, 16, 16, 1}, 36, false, false},  // half a row
        PassCase{{4, 8, 8, 16, 16, 1}, 64, false, false},   // too few for the threads
        PassCase{{20, 4, 4, 16, 200, 1}, 16, false, true},  // more outputs than tiles
        PassCase{{20, 16, 16, 16, 16, 1, 2}, 64, true, false},
        PassCase{{20, 16, 16, 16, 16, 1, 2}, 128, false, true}}) {
    CAPTURE(c.H);
    CAPTURE(pixels);
    const Conv2dGeometry g = c.geometry();
    const Inputs in(g);
    const Passes expected = in.winograd<float>(g, 4);
    const auto check_pass = [&, pixels = pixels](const Tensor& result, bool made,
                                                 const auto& convolve) {
      Tensor y = full(result.shape(), std::nan("")), seen = y.clone();
      std::atomic<std::int64_t> blocks = 0;
      const std::int64_t size = pixels * y.size(3);
      const cpu::winograd::BlockPass pass{
          pixels, [&](std::int64_t block) {
            const std::int64_t end = std::min((block + 1) * size, y.numel());
            std::copy(y.data<float>() + block * size, y.data<float>() + end,
                      seen.data<float>() + block * size);
            ++blocks;
          }};
      CHECK(with_threads(2, [&] { return convolve(y.data<float>(), &pass); }) == made);
      CHECK(blocks == (made ? (y.numel() + size - 1) / size : 0));
      CHECK(same_bits(y, result));
      if (made) CHECK(same_bits(seen, result));
    };
    check_pass(expected.output, forward, [&](float* y, const cpu::winograd::BlockPass* pass) {
      return cpu::winograd::conv2d<float>(in.input.data<float>(), nullptr, in.weight.data<float>(),
                                          in.bias.data<float>(), y, g, 4, pass);
    });
    check_pass(expected.dinput, backward, [&](float* dx, const cpu::winograd::BlockPass* pass) {
      return cpu::winograd::conv2d_backward_input<float>(in.doutput.data<float>(),
                                                         in.weight.data<float>(), dx, g, 4, pass);
    });
  }
}

TEST_CASE("Winograd convolution is used where it is right and pays") {
  const Conv2dGeometry layer = Case{8, 16, 16, 64, 64, 1}.geometry();
  CHECK(cpu::winograd::suits(layer, 4));
  CHECK(cpu::winograd::suits(layer, 2));
  const auto with = [&](auto change) {
    Conv2dGeometry g = layer;
    change(g);
    return g;
  };
  const auto supported = [&](auto change) { return cpu::winograd::supports(with(change), 4); };
  CHECK_FALSE(supported([](auto& g) { g.stride = {1, 2}; }));
  CHECK_FALSE(supported([](auto& g) { g.stride = 3; }));
  CHECK_FALSE(supported([](auto& g) { g.dilation = {2, 1}; }));
  CHECK_FALSE(supported([](auto& g) { g.groups = 2; }));
  CHECK_FALSE(supported([](auto& g) { g.kernel = {3, 1}; }));
  CHECK_FALSE(supported([](auto& g) { g.padding = {1, 3}; }));
  CHECK(supported([](auto& g) { g.stride = 2; }));
  CHECK_FALSE(supported([](auto& g) { g.stride = 2, g.padding = 0; }));
  CHECK_FALSE(cpu::winograd::supports(with([](auto& g) { g.stride = 2; }), 2));
  CHECK_FALSE(cpu::winograd::suits(Case{8, 32, 32, 3, 64, 1}.geometry(), 4));   // the stem
  CHECK_FALSE(cpu::winograd::suits(Case{1, 4, 4, 512, 512, 1}.geometry(), 4));  // a single tile
  CHECK_FALSE(cpu::winograd::suits(Case{128, 2, 2, 64, 64, 1}.geometry(), 4));  // mostly empty
}

TEST_CASE("use_winograd chooses how conv2d convolves" * cpu_only()) {
  const Conv2dGeometry g = Case{2, 16, 16, 32, 32, 1}.geometry();
  const Inputs in(g);
  const auto output = [&](int side) {
    use_winograd(side);
    CHECK(winograd_output_side() == side);
    CHECK(cpu::winograd::side_for(g) == side);
    return conv2d(in.input, in.weight, in.bias, {.padding = 1});
  };
  const Tensor plain = output(0), f2 = output(2), f4 = output(4);
  CHECK(same_bits(f2, in.winograd<float>(g, 2).output));
  CHECK(same_bits(f4, in.winograd<float>(g, 4).output));
  CHECK(!same_bits(plain, f2));
  CHECK(relative_error(plain, f2) <= 2.5e-6);
  CHECK_THROWS_WITH_AS(use_winograd(3),
                       "[use_winograd] tiles must have 4 or 2 outputs a side, or 0 for none; got 3",
                       Error);
  CHECK(winograd_output_side() == 4);
}

TEST_CASE("the bound of Winograd's rounding error where one input is far larger than the others") {
  constexpr std::int64_t side = 16, channels = 16;
  Tensor spike = ones({1, side, side, channels});
  constexpr float largest = 1e7F;
  spike.data<float>()[(7 * side + 7) * channels + 3] = largest;
  Generator generator(2);
  const Tensor w = uniform({channels, 3, 3, channels}, -1, 1, generator);
  const Tensor exact = conv2d(spike.to(DType::float64), w.to(DType::float64), {}, {.padding = 1});
  const double S = doubles_of(max(sum(abs(w), {1, 2, 3})).values)[0];
  const auto error = [&](int output_side) {
    use_winograd(output_side);
    const Tensor y = conv2d(on_device(spike), on_device(w), {}, {.padding = 1});
    use_winograd(4);
    return max_difference(y, exact);
  };
  const double unit = std::ldexp(largest * S, -24);
  CHECK(error(4) <= 38 * unit);
  CHECK(error(2) <= 4 * unit);
  CHECK(error(0) <= 2 * unit);
  CHECK(error(4) > 1e-3);  // why it is said: outputs that do not see the spike are below 100
  use_winograd(0);
  spike.data<float>()[(7 * side + 7) * channels + 3] = INFINITY;
  const auto outputs = doubles_of(conv2d(on_device(spike), on_device(w), {}, {.padding = 1}));
  use_winograd(4);
  CHECK(std::count_if(outputs.begin(), outputs.end(), [](double y) { return std::isinf(y); }) ==
        9 * channels);
  CHECK(std::none_of(outputs.begin(), outputs.end(), [](double y) { return std::isnan(y); }));
}
