// Images are cut into tiles of 4x4 outputs, which need 6x6 inputs each. A tile is transformed to 36
// frequencies, each frequency is a matrix product over the channels, and the products are
// transformed back (tensor/winograd_matrices.h has the mathematics). The work is blocked so that
// what is transformed stays in a cache until it is used. winograd_weight.cpp has the third pass.
#include "tensor/cpu/winograd.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "tensor/cpu/winograd_tiles.h"

namespace gradus::cpu::winograd {
namespace {

/// The weights of a convolution from J to K channels, as strides in [O, 3, 3, C]; reversed taps
/// make the convolution that carries gradients back.
struct WeightView {
  const float* data;
  std::int64_t J, K;
  std::int64_t j_stride, k_stride, tap_stride;
  bool reversed;
};

constexpr std::int64_t input_group = 16;  // channels transformed at a time: a cache line of weights

/// The transformed weights of one panel of output channels, U[frequency][j][k in panel].
struct PanelWeight {
  float* data;
  std::int64_t stride;  // between frequencies

  PanelWeight(float* memory, std::int64_t J) : data(memory), stride(spread(J * panel)) {}
  static std::int64_t size(std::int64_t J) { return frequencies * spread(J * panel); }
};

/// U = G g G^T for input channels [first, + count) of panel `p`, zero for k >= K.
void transform_weight(const WeightView& w, std::int64_t p, std::int64_t first, std::int64_t count,
                      const PanelWeight& u) {
  float filters[input_group][taps * taps][panel] = {};
  const std::int64_t k0 = p * panel, ks = std::min<std::int64_t>(panel, w.K - k0);
  for (int tap = 0; tap < taps * taps; ++tap) {
    const int from = w.reversed ? taps * taps - 1 - tap : tap;
    const float* x = w.data + from * w.tap_stride + k0 * w.k_stride + first * w.j_stride;
    if (w.k_stride == 1) {
      for (std::int64_t j = 0; j < count; ++j) {
        std::copy_n(x + j * w.j_stride, ks, filters[j][tap]);
      }
    } else {
      for (std::int64_t k = 0; k < ks; ++k) {
        for (std::int64_t j = 0; j < count; ++j) {
          filters[j][tap][k] = x[k * w.k_stride + j * w.j_stride];
        }
      }
    }
  }
  for (std::int64_t j = 0; j < count; ++j) {
    for (int k = 0; k < panel; k += width) {
      float* to = u.data + (first + j) * panel + k;
      transform<WeightMatrix>(
          [&](int r, int s)
              __attribute__((always_inline)) { return load(filters[j][r * taps + s] + k); },
          [&](int r, int s, const Vector& y)
              __attribute__((always_inline)) { store(to + (r * tile_side + s) * u.stride, y); });
    }
  }
}

/// A convolution from x to y with `weight`, + bias [K] unless that is null.
struct Convolution {
  const float* x;
  TileGrid from;
  WeightView weight;
  const float* bias;
  float* y;
  TileGrid to;

  std::int64_t tiles() const { return from.count(); }
  std::int64_t panels() const { return divide_up(weight.K, panel); }
};

/// Output channels of panel `p`, tiles [first, + count): products of V's tiles from `v_tile` on
/// with U, then the way back. `memory` holds Frequencies::size(count, panel) floats.
void multiply_and_restore(const Convolution& conv, std::int64_t p, std::int64_t first,
                          std::int64_t count, const Frequencies& v, std::int64_t v_tile,
                          const PanelWeight& u, float* memory) {
  const Frequencies m(memory, count, panel);
  for (int f = 0; f < frequencies; ++f) {
    multiply_panel({v.data + f * v.stride + v_tile * v.tile_stride, v.tile_stride, 1}, count,
                   u.data + f * u.stride, panel, conv.weight.J, m.data + f * m.stride,
                   m.tile_stride, false);
  }
  for (std::int64_t t = 0; t < count; ++t) {
    restore_tile(m, t, conv.bias, conv.y, conv.to, first + t, p * panel);
  }
}

/// All weights are transformed, then the tiles block by block.
void convolve_by_tiles(const Convolution& conv) {
  constexpr std::int64_t most_tiles = 28;  // whose V (and a panel's M) fit a second-level cache
  const std::int64_t J = conv.weight.J;
  const std::int64_t groups = divide_up(J, input_group);
  const std::int64_t panel_size = PanelWeight::size(J);
  Tensor weights = scratch_floats({conv.panels(), panel_size});
  const auto panel_weight = [&, data = weights.data<float>()](std::int64_t p) {
    return PanelWeight(data + p * panel_size, J);
  };
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (std::int64_t p = 0; p < conv.panels(); ++p) {
    for (std::int64_t i = 0; i < groups; ++i) {
      const std::int64_t first = i * input_group;
      transform_weight(conv.weight, p, first, std::min(input_group, J - first), panel_weight(p));
    }
  }
  const std::int64_t tiles = conv.tiles();
  const std::int64_t blocks = std::max<std::int64_t>(
      divide_up(tiles, most_tiles), std::min<std::int64_t>(omp_get_max_threads(), tiles));
  const std::int64_t block = divide_up(tiles, std::max<std::int64_t>(blocks, 1));
  const std::vector<float> zeros(static_cast<std::size_t>(J));
  const std::int64_t v_size = Frequencies::size(block, J);
  const ThreadScratch scratch(v_size + Frequencies::size(block, panel));
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t i = 0; i < blocks; ++i) {
    const std::int64_t first = tiles * i / blocks, count = tiles * (i + 1) / blocks - first;
    const Frequencies v(scratch.get(), block, J);
    for (std::int64_t t = 0; t < count; ++t) {
      transform_tile<InputMatrix>(conv.x, conv.from, first + t, zeros.data(), v, t);
    }
    for (std::int64_t p = 0; p < conv.panels(); ++p) {
      multiply_and_restore(conv, p, first, count, v, 0, panel_weight(p), scratch.get() + v_size);
    }
  }
}

/// All tiles are transformed, then the weights panel by panel.
void convolve_by_panels(const Convolution& conv) {
  constexpr std::int64_t most_tiles = 112;  // whose products fit a second-level cache
  const std::int64_t J = conv.weight.J, tiles = conv.tiles();
  const std::vector<float> zeros(static_cast<std::size_t>(J));
  Tensor transformed = scratch_floats({Frequencies::size(tiles, J)});
  const Frequencies v(transformed.data<float>(), tiles, J);
  const std::int64_t blocks = divide_up(tiles, most_tiles);
  const std::int64_t u_size = PanelWeight::size(J);
  const ThreadScratch scratch(u_size + Frequencies::size(most_tiles, panel));
#pragma omp parallel
  {
#pragma omp for schedule(dynamic)
    for (std::int64_t t = 0; t < tiles; ++t) {
      transform_tile<InputMatrix>(conv.x, conv.from, t, zeros.data(), v, t);
    }
#pragma omp for schedule(dynamic)
    for (std::int64_t p = 0; p < conv.panels(); ++p) {
      const PanelWeight u(scratch.get(), J);
      for (std::int64_t j = 0; j < J; j += input_group) {
        transform_weight(conv.weight, p, j, std::min(input_group, J - j), u);
      }
      for (std::int64_t i = 0; i < blocks; ++i) {
        const std::int64_t first = tiles * i / blocks, count = tiles * (i + 1) / blocks - first;
        multiply_and_restore(conv, p, first, count, v, first, u, scratch.get() + u_size);
      }
    }
  }
}

/// The larger factor, tiles or weights, exists only piece by piece. Outputs do not depend on the
/// pieces they are computed in.
void convolve(const Convolution& conv) {
  if (conv.tiles() >= conv.weight.K) {
    convolve_by_tiles(conv);
  } else {
    convolve_by_panels(conv);
  }
}

}  // namespace

bool supports(const Conv2dGeometry& g) {
  return g.kernel == Size2(3) && g.stride == Size2(1) && g.dilation == Size2(1) && g.groups == 1 &&
         g.padding.height <= 2 && g.padding.width <= 2;
}

bool suits(const Conv2dGeometry& g) {
  constexpr std::int64_t fewest_channels = 16, fewest_tiles = 16;
  if (!supports(g) || g.C < fewest_channels || g.O < fewest_channels) return false;
  const std::int64_t tiles = Grids(g).input.count();
  const std::int64_t pixels = g.N * g.out_height * g.out_width;
  constexpr double overhead = 1.5;  // of the transforms
  return tiles >= fewest_tiles && overhead * frequencies * static_cast<double>(tiles) <=
                                      static_cast<double>(taps * taps * pixels);
}

void conv2d(const float* input, const float* weight, const float* bias, float* output,
            const Conv2dGeometry& g) {
  const Grids grids(g);
  convolve({input,
            grids.input,
            {weight, g.C, g.O, 1, taps * taps * g.C, g.C, false},
            bias,
            output,
            grids.output});
}

void conv2d_backward_input(const float* doutput, const float* weight, float* dinput,
                           const Conv2dGeometry& g) {
  // The adjoint is a convolution, too: of doutput, padded to give H x W, with rotated weights.
  Conv2dGeometry back = g;
  std::swap(back.H, back.out_height);
  std::swap(back.W, back.out_width);
  std::swap(back.C, back.O);
  back.padding = {taps - 1 - g.padding.height, taps - 1 - g.padding.width};
  const Grids grids(back);
  convolve({doutput,
            grids.input,
            {weight, g.O, g.C, taps * taps * g.C, 1, g.C, true},
            nullptr,
            dinput,
            grids.output});
}

}  // namespace gradus::cpu::winograd
