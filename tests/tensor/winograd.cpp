// The CPU's Winograd convolution, called directly, so that sizes that conv2d leaves to the column
// matrix are tested too.
#include "tensor/cpu/winograd.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tensor/ops.h"
#include "tests/support/compare.h"
#include "tests/support/device.h"

using namespace gradus;
using namespace gradus::test;

namespace {

struct Case {
  std::int64_t N, H, W, C, O;
  Size2 padding;

  Conv2dGeometry geometry() const {
    return {.N = N,
            .H = H,
            .W = W,
            .C = C,
            .O = O,
            .out_height = H + 2 * padding.height - 2,
            .out_width = W + 2 * padding.width - 2,
            .kernel = 3,
            .padding = padding};
  }
};

struct Passes {
  Tensor output, dinput, dweight;
};

struct Inputs {
  Tensor input, weight, bias, doutput;

  explicit Inputs(const Conv2dGeometry& g) {
    Generator generator(11);
    const auto draw = [&](const Shape& shape) { return uniform(shape, -1, 1, generator); };
    input = draw({g.N, g.H, g.W, g.C});
    weight = draw({g.O, 3, 3, g.C});
    bias = draw({g.O});
    doutput = draw({g.N, g.out_height, g.out_width, g.O});
  }

  /// Tensors full of NaN are overwritten, so that nothing is left out or added to.
  Passes winograd(const Conv2dGeometry& g) const {
    const auto poisoned = [](const Tensor& like) { return full(like.shape(), std::nan("")); };
    Passes result{poisoned(doutput), poisoned(input), poisoned(weight)};
    const float *x = input.data<float>(), *w = weight.data<float>(), *dy = doutput.data<float>();
    cpu::winograd::conv2d(x, w, bias.data<float>(), result.output.data<float>(), g);
    cpu::winograd::conv2d_backward_input(dy, w, result.dinput.data<float>(), g);
    cpu::winograd::conv2d_backward_weight(x, dy, result.dweight.data<float>(), g);
    return result;
  }

  /// By the column matrix in float64, which is never Winograd's.
  Passes reference(const Conv2dGeometry& g) const {
    const auto wide = [](const Tensor& x) { return x.to(DType::float64); };
    const Conv2dOptions options{.padding = g.padding};
    return {conv2d(wide(input), wide(weight), wide(bias), options),
            conv2d_backward_input(wide(doutput), wide(weight), input.shape(), options),
            conv2d_backward_weight(wide(input), wide(doutput), weight.shape(), options)};
  }
};

/// Root mean square of a - b, relative to that of b.
double relative_rms(const Tensor& a, const Tensor& b) {
  const auto x = doubles_of(a), y = doubles_of(b);
  double error = 0, size = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    error += (x[i] - y[i]) * (x[i] - y[i]);
    size += y[i] * y[i];
  }
  return std::sqrt(error / size);
}

}  // namespace

TEST_CASE("Winograd convolution matches the column matrix for any shape" * cpu_only()) {
  const std::vector<Case> cases = {
      {1, 1, 1, 16, 16, 1},      {3, 1, 1, 17, 33, 2},        {1, 4, 4, 16, 64, 1},
      {3, 3, 3, 16, 16, 0},      {3, 5, 7, 17, 16, 1},        {1, 5, 7, 64, 17, 0},
      {3, 7, 5, 16, 31, {2, 0}}, {1, 9, 9, 17, 17, 2},        {3, 9, 9, 64, 64, {0, 1}},
      {3, 32, 32, 16, 17, 1},    {1, 32, 32, 64, 48, {1, 2}}, {2, 6, 6, 1, 1, 1},
      {1, 4, 4, 5, 200, 1},      {1, 4, 4, 200, 5, 1},        {20, 8, 8, 3, 2, 1},
      {2, 9, 12, 260, 270, 1},   {0, 5, 5, 16, 16, 1},
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
    REQUIRE(cpu::winograd::supports(g));
    const Inputs in(g);
    const Passes expected = in.reference(g), actual = in.winograd(g);
    const auto close = [](const Tensor& a, const Tensor& b) {
      return max_difference(a, b) <= 6e-6 * (1 + max_abs(b));
    };
    CHECK(close(actual.output, expected.output));
    CHECK(close(actual.dinput, expected.dinput));
    CHECK(close(actual.dweight, expected.dweight));
  }
}

TEST_CASE("Winograd convolution loses few digits on the layers of a ResNet-18" * cpu_only()) {
  for (const Case& c : {Case{4, 32, 32, 64, 64, 1}, Case{8, 16, 16, 128, 128, 1},
                        Case{16, 8, 8, 256, 256, 1}, Case{16, 4, 4, 512, 512, 1}}) {
    CAPTURE(c.C);
    const Conv2dGeometry g = c.geometry();
    CHECK(cpu::winograd::suits(g));
    const Inputs in(g);
    const Passes expected = in.reference(g), actual = in.winograd(g);
    constexpr double tolerance = 2.5e-6;
    CHECK(relative_rms(actual.output, expected.output) <= tolerance);
    CHECK(relative_rms(actual.dinput, expected.dinput) <= tolerance);
    CHECK(relative_rms(actual.dweight, expected.dweight) <= tolerance);
  }
}

TEST_CASE("Winograd convolution gives the same bits for any number of threads" * cpu_only()) {
  for (const Case& c :
       {Case{9, 15, 17, 40, 72, 1}, Case{5, 8, 8, 160, 300, 1}, Case{7, 4, 4, 512, 512, 1}}) {
    CAPTURE(c.C);
    const Conv2dGeometry g = c.geometry();
    const Inputs in(g);
    const Passes one = with_threads(1, [&] { return in.winograd(g); });
    for (const int threads : {2, 3, 20}) {
      CAPTURE(threads);
      const Passes several = with_threads(threads, [&] { return in.winograd(g); });
      CHECK(same_bits(one.output, several.output));
      CHECK(same_bits(one.dinput, several.dinput));
      CHECK(same_bits(one.dweight, several.dweight));
    }
  }
}

TEST_CASE("Winograd convolution is used where it is right and pays") {
  const Conv2dGeometry layer = Case{8, 16, 16, 64, 64, 1}.geometry();
  CHECK(cpu::winograd::suits(layer));
  const auto with = [&](auto change) {
    Conv2dGeometry g = layer;
    change(g);
    return g;
  };
  CHECK_FALSE(cpu::winograd::supports(with([](auto& g) { g.stride = {1, 2}; })));
  CHECK_FALSE(cpu::winograd::supports(with([](auto& g) { g.dilation = {2, 1}; })));
  CHECK_FALSE(cpu::winograd::supports(with([](auto& g) { g.groups = 2; })));
  CHECK_FALSE(cpu::winograd::supports(with([](auto& g) { g.kernel = {3, 1}; })));
  CHECK_FALSE(cpu::winograd::supports(with([](auto& g) { g.padding = {1, 3}; })));
  CHECK_FALSE(cpu::winograd::suits(Case{8, 32, 32, 3, 64, 1}.geometry()));   // the stem
  CHECK_FALSE(cpu::winograd::suits(Case{1, 4, 4, 512, 512, 1}.geometry()));  // a single tile
  CHECK_FALSE(cpu::winograd::suits(Case{128, 2, 2, 64, 64, 1}.geometry()));  // tiles mostly empty
}
