// Images are cut into tiles of m x m outputs, which need (m + 2) x (m + 2) inputs each. A tile is
// transformed to as many frequencies, each frequency is a matrix product over the channels, and the
// products are transformed back (tensor/backend/winograd_matrices.h has the mathematics). The work
// is blocked so that what is transformed stays in a cache until it is used. winograd_weight.cpp has
// the third pass.
#include "tensor/cpu/conv/winograd.h"

#include <algorithm>
#include <utility>

#include "tensor/backend/instantiate.h"
#include "tensor/cpu/conv/winograd_tiles.h"

namespace gradus::cpu::winograd {
namespace {

/// The weights of a convolution from J to K channels, as strides in [O, 3, 3, C], of which j_stride
/// or k_stride is 1; reversed taps make the convolution that carries gradients back.
struct WeightView {
  const float* data;
  std::int64_t J, K;
  std::int64_t j_stride, k_stride, tap_stride;
  bool reversed;
};

constexpr std::int64_t input_group = 16;  // channels transformed at a time: a cache line of weights

/// filters[j][tap][k in panel p], for input channels [first, + count), zero for k >= K.
void gather_filters(const WeightView& w, std::int64_t p, int panel, std::int64_t first,
                    std::int64_t count, float* filters) {
  std::fill_n(filters, input_group * taps * taps * panel, 0.0f);
  const std::int64_t k0 = p * panel, ks = std::min<std::int64_t>(panel, w.K - k0);
  const std::int64_t stride = taps * taps * panel;
  for (int tap = 0; tap < taps * taps; ++tap) {
    const int from = w.reversed ? taps * taps - 1 - tap : tap;
    const float* x = w.data + from * w.tap_stride + k0 * w.k_stride + first * w.j_stride;
    float* const to = filters + tap * panel;
    if (w.k_stride == 1) {
      for (std::int64_t j = 0; j < count; ++j) std::copy_n(x + j * w.j_stride, ks, to + j * stride);
    } else {
      simd::kernels().transpose(x, w.k_stride, ks, count, to, stride);
    }
  }
}

/// A convolution from x to y with `weight`, + bias [K] unless that is null.
template <class T, class Word>
class Convolution {
 public:
  Convolution(simd::WinogradScheme scheme, const T* x, const WeightView& weight, const float* bias,
              T* y, const Grids& grids)
      : algorithm_(simd::kernels(), scheme),
        x_(x),
        weight_(weight),
        bias_(bias),
        y_(y),
        grids_(grids),
        words_(divide_up(weight.J, per_word)),
        u_stride_(spread(words_ * algorithm_.panel)) {}

  /// The larger factor, tiles or weights, exists only piece by piece. Outputs do not depend on the
  /// pieces they are computed in.
  void run() const { tiles() < weight_.K ? by_panels() : by_tiles(); }

 private:
  using Transformed = Frequencies<Word>;  // V[frequency][tile][j]
  using Products = Frequencies<float>;    // M[frequency][tile][k in panel]
  static constexpr int per_word = simd::per_word<Word>;

  std::int64_t tiles() const { return grids_.input.count(); }
  std::int64_t panels() const { return divide_up(weight_.K, algorithm_.panel); }
  std::int64_t v_size(std::int64_t tiles) const {
    return Transformed::size(algorithm_.frequencies, tiles, words_);
  }
  std::int64_t m_size(std::int64_t tiles) const {
    return Products::size(algorithm_.frequencies, tiles, algorithm_.panel);
  }
  /// Words of U[frequency][j][k in panel], the transformed weights of a panel of output channels.
  std::int64_t u_size() const { return algorithm_.frequencies * u_stride_; }

  /// U = G g G^T for input channels [first, + input_group) of panel `p`.
  void transform_weight(std::int64_t p, std::int64_t first, Word* u) const {
    float filters[input_group * taps * taps * most_panel];
    const std::int64_t count = std::min(input_group, weight_.J - first);
    gather_filters(weight_, p, algorithm_.panel, first, count, filters);
    algorithm_.transforms.transform_weight(filters, round_up(count, per_word),
                                           u + first / per_word * algorithm_.panel, u_stride_);
  }

  void transform_input(std::int64_t tile, const Transformed& v, std::int64_t to_tile) const {
    const T* pixels[most_tile_side * most_tile_side];
    find_pixels(x_, grids_.input, tile, algorithm_.transforms.input_side, pixels);
    algorithm_.transforms.transform_input(pixels, weight_.J, v.at(0, to_tile), v.stride);
  }

  /// Output channels of panel `p`, a range of tiles: products of V's tiles from `v_tile` on with U,
  /// then the way back. `memory` holds m_size() words.
  void multiply_and_restore(std::int64_t p, const Range& range, const Transformed& v,
                            std::int64_t v_tile, const Word* u, float* memory) const {
    const std::int64_t count = range.size();
    const Products m(memory, count, algorithm_.panel);
    for (int f = 0; f < algorithm_.frequencies; ++f) {
      algorithm_.multiply({v.at(f, v_tile), v.row_stride, 1}, count, u + f * u_stride_,
                          algorithm_.panel, {words_}, m.at(f, 0), m.row_stride, false);
    }
    const TileGrid& to = grids_.output;
    const std::int64_t k = p * algorithm_.panel;
    for (std::int64_t t = 0; t < count; ++t) {
      const auto [n, h, w] = place_of(to, range.begin + t);
      algorithm_.transforms.restore_output(m.at(0, t), m.stride, bias_ ? bias_ + k : nullptr,
                                           std::min<std::int64_t>(algorithm_.panel, to.C - k),
                                           y_ + ((n * to.H + h) * to.W + w) * to.C + k, to.W * to.C,
                                           to.C, to.H - h, to.W - w);
    }
  }

  /// All weights are transformed, then the tiles block by block.
  void by_tiles() const {
    // Tiles whose V fits a second-level cache, in whole blocks of the products' rows.
    const std::int64_t most = 14 / algorithm_.rows * algorithm_.rows * per_word;
    const std::int64_t blocks =
        std::max(divide_up(tiles(), most), std::min<std::int64_t>(omp_get_max_threads(), tiles()));
    const std::int64_t longest = divide_up(tiles(), blocks);
    const std::int64_t groups = divide_up(weight_.J, input_group);
    const Scratch<Word> weights(panels() * u_size());
    const ThreadScratch<float> scratch(v_size(longest) + m_size(longest));
#pragma omp parallel
    {
#pragma omp for collapse(2) schedule(dynamic)
      for (std::int64_t p = 0; p < panels(); ++p) {
        for (std::int64_t i = 0; i < groups; ++i) {
          transform_weight(p, i * input_group, weights.data() + p * u_size());
        }
      }
#pragma omp for schedule(dynamic)
      for (std::int64_t i = 0; i < blocks; ++i) {
        convolve(part_of(tiles(), blocks, i), weights.data(), scratch.get());
      }
    }
  }

  /// A block of tiles, all output channels.
  void convolve(const Range& range, const Word* u, float* memory) const {
    const Transformed v(memory, range.size(), words_);
    for (std::int64_t t = range.begin; t < range.end; ++t) transform_input(t, v, t - range.begin);
    for (std::int64_t p = 0; p < panels(); ++p) {
      multiply_and_restore(p, range, v, 0, u + p * u_size(), memory + v_size(range.size()));
    }
  }

  /// All tiles are transformed, then the weights panel by panel.
  void by_panels() const {
    constexpr std::int64_t most = 112;  // tiles whose products fit a second-level cache
    const Scratch<float> transformed(v_size(tiles()));
    const Transformed v(transformed.data(), tiles(), words_);
    const std::int64_t blocks = divide_up(tiles(), most);
    const ThreadScratch<float> scratch(u_size() + m_size(most));
#pragma omp parallel
    {
#pragma omp for schedule(dynamic)
      for (std::int64_t t = 0; t < tiles(); ++t) transform_input(t, v, t);
#pragma omp for schedule(dynamic)
      for (std::int64_t p = 0; p < panels(); ++p) {
        Word* const u = reinterpret_cast<Word*>(scratch.get());
        for (std::int64_t j = 0; j < weight_.J; j += input_group) transform_weight(p, j, u);
        for (std::int64_t i = 0; i < blocks; ++i) {
          const Range range = part_of(tiles(), blocks, i);
          multiply_and_restore(p, range, v, range.begin, u, scratch.get() + u_size());
        }
      }
    }
  }

  Algorithm<T, Word> algorithm_;
  const T* x_;
  WeightView weight_;
  const float* bias_;
  T* y_;
  Grids grids_;
  std::int64_t words_;  // of the input channels of a tile
  std::int64_t u_stride_;
};

template <class T>
void convolve(simd::WinogradScheme scheme, const T* x, const WeightView& weight, const float* bias,
              T* y, const Grids& grids) {
  simd::with_word<T>(
      [&](auto word) { Convolution<T, decltype(word)>(scheme, x, weight, bias, y, grids).run(); });
}

}  // namespace

bool supports(const Conv2dGeometry& g) {
  if (g.kernel != Size2(3) || g.dilation != Size2(1) || g.groups != 1) return false;
  if (g.stride == Size2(2)) return g.padding == Size2(1);
  return g.stride == Size2(1) && g.padding.height <= 2 && g.padding.width <= 2;
}

template <class T>
void conv2d(const T* input, const float* weight, const float* bias, T* output,
            const Conv2dGeometry& g) {
  const WeightView view{.data = weight,
                        .J = g.C,
                        .K = g.O,
                        .j_stride = 1,
                        .k_stride = taps * taps * g.C,
                        .tap_stride = g.C,
                        .reversed = false};
  convolve(scheme_of(g), input, view, bias, output, Grids(g));
}

template <class T>
void conv2d_backward_input(const T* doutput, const float* weight, T* dinput,
                           const Conv2dGeometry& g) {
  // The adjoint is a convolution, too, with rotated weights.
  const WeightView view{.data = weight,
                        .J = g.O,
                        .K = g.C,
                        .j_stride = taps * taps * g.C,
                        .k_stride = 1,
                        .tap_stride = g.C,
                        .reversed = true};
  if (g.stride == Size2(2)) {  // for each 8x8 pixels of dinput, 5x5 of doutput
    constexpr std::int64_t to = 8, from = 4;
    const std::int64_t rows = divide_up(g.H, to), columns = divide_up(g.W, to);
    const TileGrid of_doutput{g.N, g.out_height, g.out_width, g.O, rows, columns, 0, from};
    const TileGrid of_dinput{g.N, g.H, g.W, g.C, rows, columns, 0, to};
    return convolve(simd::WinogradScheme::strided_back, doutput, view, nullptr, dinput,
                    {of_doutput, of_dinput});
  }
  // Of doutput, padded to give H x W.
  Conv2dGeometry back = g;
  std::swap(back.H, back.out_height);
  std::swap(back.W, back.out_width);
  std::swap(back.C, back.O);
  back.padding = {taps - 1 - g.padding.height, taps - 1 - g.padding.width};
  convolve(scheme_of(back), doutput, view, nullptr, dinput, Grids(back));
}

GRADUS_INSTANTIATE(conv2d<float>)
GRADUS_INSTANTIATE(conv2d<BFloat16>)
GRADUS_INSTANTIATE(conv2d_backward_input<float>)
GRADUS_INSTANTIATE(conv2d_backward_input<BFloat16>)

}  // namespace gradus::cpu::winograd
