#include "tensor/cpu/conv/direct_conv.h"

#include <algorithm>
#include <vector>

#include "tensor/backend/kernels.h"
#include "tensor/cpu/conv/im2col.h"
#include "tensor/cpu/gemm/packing.h"

namespace gradus::cpu::direct {
namespace {

/// weight(tap, j, k) = data[taps[tap] + j j_stride + k k_stride], from J to K channels.
struct WeightView {
  const float* data;
  std::vector<std::int64_t> taps;
  std::int64_t J, K, j_stride, k_stride;

  std::int64_t columns() const { return static_cast<std::int64_t>(taps.size()) * J; }
};

/// Where pixel (n, p, q) of a convolution's output lies: at n image + p row + q column.
template <class T>
struct Image {
  T* data;
  std::int64_t image, row, column;
};

/// A convolution of x, whose geometry gives the pixels and their columns, with `weight`, + bias [K]
/// unless that is null.
template <class T>
class Convolution {
 public:
  Convolution(const T* x, const Conv2dGeometry& g, const WeightView& weight, const float* bias,
              const Image<T>& y)
      : kernels_(simd::kernels()),
        x_(x),
        g_(g),
        weight_(weight),
        bias_(bias),
        y_(y),
        words_(divide_up(weight.columns(), per_word)),
        row_stride_(spread(words_)),
        panels_(divide_up(weight.K, kernels_.panel)) {}

  void run() const {
    const Scratch<Word> weights(panels_ * panel_size());
    const std::int64_t blocks = block_count(), longest = divide_up(g_.output_pixels(), blocks);
    const ThreadScratch<Word> columns(longest * row_stride_);
    const ThreadScratch<float> sums(longest * panels_ * kernels_.panel);
#pragma omp parallel
    {
#pragma omp for schedule(dynamic)
      for (std::int64_t p = 0; p < panels_; ++p) pack(p, weights.data() + p * panel_size());
#pragma omp for schedule(dynamic) nowait
      for (std::int64_t i = 0; i < blocks; ++i) {
        const Range block = part_of(g_.output_pixels(), blocks, i);
        gather(block, columns.get());
        multiply(columns.get(), block.size(), weights.data(), sums.get());
        store(sums.get(), block);
      }
    }
  }

 private:
  using Word = simd::Word<T>;
  static constexpr int per_word = simd::Packing<T>::per_word;

  /// Words of a panel of packed weights.
  std::int64_t panel_size() const { return words_ * kernels_.panel; }

  /// Blocks whose columns fill at most a third of a second-level cache, or just enough pixels for
  /// products at their full speed; as many for each thread.
  std::int64_t block_count() const {
    constexpr std::int64_t words = 96 * 1024, fewest = 4, most = 16;
    const std::int64_t rows = kernels_.rows;
    const std::int64_t size =
        rows * std::clamp(words / (std::max<std::int64_t>(words_, 1) * rows), fewest, most);
    const std::int64_t pixels = g_.output_pixels();
    return std::clamp<std::int64_t>(round_up(divide_up(pixels, size), omp_get_max_threads()), 1,
                                    std::max<std::int64_t>(pixels, 1));
  }

  /// A panel of the weights, [word][k in panel], zero for k >= K and beyond the last column.
  void pack(std::int64_t p, Word* packed) const {
    const std::int64_t first = p * kernels_.panel;
    const std::int64_t count = std::min<std::int64_t>(kernels_.panel, weight_.K - first);
    T* to = reinterpret_cast<T*>(packed);
    std::fill_n(to, words_ * kernels_.panel * per_word, T(0.0f));
    std::int64_t column = 0;
    for (const std::int64_t tap : weight_.taps) {
      for (std::int64_t j = 0; j < weight_.J; ++j, ++column) {
        const float* from = weight_.data + tap + j * weight_.j_stride + first * weight_.k_stride;
        T* into = to + column / per_word * kernels_.panel * per_word + column % per_word;
        for (std::int64_t k = 0; k < count; ++k) into[k * per_word] = T(from[k * weight_.k_stride]);
      }
    }
  }

  /// The columns of a block's pixels, row_stride_ words apart.
  void gather(const Range& block, Word* columns) const {
    T* const to = reinterpret_cast<T*>(columns);
    const std::int64_t count = weight_.columns(), stride = row_stride_ * per_word;
    im2col(x_, to, g_, {block, {0, g_.kernel.height}}, stride);
    for (std::int64_t i = 0; count % per_word != 0 && i < block.size(); ++i) {
      to[i * stride + count] = T(0.0f);
    }
  }

  /// sums [pixels][panels_ whole panels] = columns weights
  void multiply(const Word* columns, std::int64_t pixels, const Word* weights, float* sums) const {
    const std::int64_t stride = panels_ * kernels_.panel;
    for (std::int64_t p = 0; p < panels_; ++p) {
      kernels_.multiply<T>()({columns, row_stride_, 1}, pixels, weights + p * panel_size(),
                             kernels_.panel, words_, sums + p * kernels_.panel, stride, false);
    }
  }

  /// y = sums + bias for a block of pixels.
  void store(const float* sums, const Range& block) const {
    for_each_row(g_, block, [&](std::int64_t n, std::int64_t h, const Range& w) {
      T* y = y_.data + n * y_.image + h * y_.row + w.begin * y_.column;
      for (std::int64_t i = w.begin; i < w.end; ++i, y += y_.column) {
        for (std::int64_t k = 0; k < weight_.K; ++k) {
          y[k] = T(bias_ == nullptr ? sums[k] : sums[k] + bias_[k]);
        }
        sums += panels_ * kernels_.panel;
      }
    });
  }

  const simd::Kernels& kernels_;
  const T* x_;
  Conv2dGeometry g_;
  WeightView weight_;
  const float* bias_;
  Image<T> y_;
  std::int64_t words_;  // of a pixel's columns
  std::int64_t row_stride_;
  std::int64_t panels_;
};

/// The pixels of the input, along one axis, that lie `phase` steps behind a window's start: they
/// are read by every stride-th tap only, as in a convolution of stride 1.
struct Phase {
  std::int64_t taps;     // phase, phase + stride, ...
  std::int64_t first;    // the first such pixel
  std::int64_t count;    // such pixels
  std::int64_t padding;  // of the convolution from the output's gradient to them

  Phase(std::int64_t phase, std::int64_t size, std::int64_t kernel, std::int64_t stride,
        std::int64_t pad)
      : taps(phase < kernel ? divide_up(kernel - phase, stride) : 0) {
    const std::int64_t skipped = phase < pad ? divide_up(pad - phase, stride) : 0;
    first = phase - pad + skipped * stride;
    count = first < size ? divide_up(size - first, stride) : 0;
    padding = taps - 1 - skipped;
  }
};

}  // namespace

bool supports(const Conv2dGeometry& g) { return g.groups == 1 && g.dilation == Size2(1); }

template <class T>
void conv2d(const T* input, const float* weight, const float* bias, T* output,
            const Conv2dGeometry& g) {
  WeightView view{weight, {}, g.C, g.O, 1, g.kernel.height * g.kernel.width * g.C};
  for (std::int64_t tap = 0; tap < g.kernel.height * g.kernel.width; ++tap) {
    view.taps.push_back(tap * g.C);
  }
  const std::int64_t row = g.out_width * g.O;
  Convolution<T>(input, g, view, bias, {output, g.out_height * row, row, g.O}).run();
}

template <class T>
void conv2d_backward_input(const T* doutput, const float* weight, T* dinput,
                           const Conv2dGeometry& g) {
  const std::int64_t row = g.W * g.C;
  if (g.kernel.height < g.stride.height || g.kernel.width < g.stride.width) {
    fill(dinput, T(0.0f), g.N * g.H * row);  // some pixels are read by no tap
  }
  for (std::int64_t a = 0; a < std::min(g.stride.height, g.kernel.height); ++a) {
    for (std::int64_t b = 0; b < std::min(g.stride.width, g.kernel.width); ++b) {
      const Phase h(a, g.H, g.kernel.height, g.stride.height, g.padding.height);
      const Phase w(b, g.W, g.kernel.width, g.stride.width, g.padding.width);
      if (h.taps * w.taps * h.count * w.count == 0) continue;
      WeightView view{weight, {}, g.O, g.C, g.kernel.height * g.kernel.width * g.C, 1};
      for (std::int64_t r = h.taps - 1; r >= 0; --r) {
        for (std::int64_t s = w.taps - 1; s >= 0; --s) {
          view.taps.push_back(
              ((a + r * g.stride.height) * g.kernel.width + b + s * g.stride.width) * g.C);
        }
      }
      const Conv2dGeometry back{.N = g.N,
                                .H = g.out_height,
                                .W = g.out_width,
                                .C = g.O,
                                .O = g.C,
                                .out_height = h.count,
                                .out_width = w.count,
                                .kernel = {h.taps, w.taps},
                                .padding = {h.padding, w.padding}};
      Convolution<T>(doutput, back, view, nullptr,
                     {dinput + h.first * row + w.first * g.C, g.H * row, g.stride.height * row,
                      g.stride.width * g.C})
          .run();
    }
  }
}

#define GRADUS_INSTANTIATE(T)                                                            \
  template void conv2d(const T*, const float*, const float*, T*, const Conv2dGeometry&); \
  template void conv2d_backward_input(const T*, const float*, T*, const Conv2dGeometry&);
GRADUS_INSTANTIATE(float)
GRADUS_INSTANTIATE(BFloat16)
#undef GRADUS_INSTANTIATE

}  // namespace gradus::cpu::direct
