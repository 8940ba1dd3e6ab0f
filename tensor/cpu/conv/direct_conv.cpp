#include "tensor/cpu/conv/direct_conv.h"

#include <algorithm>
#include <vector>

#include "tensor/backend/instantiate.h"
#include "tensor/cpu/conv/windows.h"
#include "tensor/cpu/parallel.h"

namespace gradus::cpu::direct {
namespace {

/// weight(tap, j, k) = data[taps[tap] + j j_stride + k k_stride], from J to K channels.
struct WeightView {
  const float* data;
  std::vector<std::int64_t> taps;
  std::int64_t J, K, j_stride, k_stride;  // one of the strides is 1
};

/// Where pixel (n, p, q) of a convolution's output lies: at n image + p row + q column.
template <class T>
struct Image {
  T* data;
  std::int64_t image, row, column;
};

/// A convolution of x, whose geometry gives the outputs and their windows, with `weight`, + bias
/// [K] unless that is null.
template <class T, class Word>
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
        tap_words_(divide_up(Windows::channels_of_tap(g), per_word)),
        panels_(divide_up(weight.K, kernels_.panel)) {}

  void run() const {
    const std::int64_t lanes = std::clamp<std::int64_t>(enough_windows / g_.out_width, 1, g_.N);
    const std::int64_t groups = divide_up(g_.N, lanes), parts = row_parts(lanes, groups);
    const Scratch<Word> weights(panels_ * taps() * tap_size());
    const ThreadScratch<Element> rows(kernels_.panel * tap_words_ * per_word);
    const ThreadScratch<Word> copy(windows(lanes, divide_up(g_.out_height, parts)).size());
    const ThreadScratch<float> sums(columns_together() * lanes * kernels_.panel);
    parallel_tasks(panels_ * taps(), [&](std::int64_t i) {
      pack(i / taps(), i % taps(), rows.get(), weights.data() + i * tap_size());
    });
    parallel_tasks(groups * parts, [&](std::int64_t i) {
      convolve({part_of(g_.N, groups, i / parts), part_of(g_.out_height, parts, i % parts)},
               weights.data(), copy.get(), sums.get());
    });
  }

 private:
  using Windows = direct::Windows<T, Word>;
  using Element = simd::Element<Word>;
  static constexpr int per_word = simd::per_word<Word>;
  static constexpr std::int64_t enough_windows = 32;  // for products at their full speed

  /// Of a row of outputs, how many are computed by the same taps.
  std::int64_t columns_together() const { return Windows::are_narrow(g_) ? 1 : g_.out_width; }

  /// Of the windows: whole ones have a single tap, which is all of the weight's.
  std::int64_t taps() const { return Windows::tap_count(g_); }
  /// Words of a tap of a panel of packed weights.
  std::int64_t tap_size() const { return tap_words_ * kernels_.panel; }

  Windows windows(std::int64_t lanes, std::int64_t rows) const {
    return {g_, lanes, 1, rows, Windows::channels_of_tap(g_)};
  }

  /// Parts of the rows of outputs, some for each thread, each of which reads a part of the images
  /// that takes at most a quarter of a second-level cache.
  std::int64_t row_parts(std::int64_t lanes, std::int64_t groups) const {
    constexpr std::int64_t words = 96 * 1024, enough = 4;
    std::int64_t parts = std::min(divide_up(enough * omp_get_max_threads(), groups), g_.out_height);
    const auto size = [&] { return windows(lanes, divide_up(g_.out_height, parts)).size(); };
    while (parts < g_.out_height && size() > words) ++parts;
    return parts;
  }

  /// A tap of a panel of the weights, [word][k in panel], zero for k >= K and beyond the last
  /// channel. `rows` has room for as much.
  void pack(std::int64_t p, std::int64_t tap, Element* rows, Word* packed) const {
    const std::int64_t first = p * kernels_.panel;
    const std::int64_t count = std::min<std::int64_t>(kernels_.panel, weight_.K - first);
    const auto count_of_taps = static_cast<std::int64_t>(weight_.taps.size()) / taps();
    const std::int64_t channels = Windows::channels_of_tap(g_);
    const bool by_rows = weight_.j_stride == 1;  // of the weights of an output channel
    const std::int64_t stride = by_rows ? tap_words_ * per_word : kernels_.panel;
    std::fill_n(packed, tap_size(), Word{});
    if (by_rows) std::fill_n(rows, tap_size() * per_word, Element(0.0f));
    for (std::int64_t i = 0; i < count_of_taps; ++i) {
      const std::int64_t from = weight_.taps[static_cast<std::size_t>(tap * count_of_taps + i)];
      const float* const weights = weight_.data + from + first * weight_.k_stride;
      if (by_rows) {
        convert(weights, weight_.k_stride, {rows + i * weight_.J, count, weight_.J, stride, 1, 0});
      } else {
        convert(weights, weight_.j_stride,
                {rows + i * weight_.J * stride, weight_.J, count, stride, 1, 0});
      }
    }
    if (by_rows) {
      kernels_.transpose(rows, tap_words_, count, tap_words_, packed, kernels_.panel);
    } else {
      interleave_rows(rows, stride, channels, count, packed, kernels_.panel);
    }
  }
  void convert(const float* from, std::int64_t stride, const simd::StoredRows<Element>& to) const {
    kernels_.store_rows<Element>()(from, stride, nullptr, to);
  }

  /// A block of outputs, panel by panel, whose weights stay in a second-level cache for some panels
  /// and all rows. `copy` and `sums` have room for a block's windows and a row's sums.
  void convolve(const Block& block, const Word* weights, Word* copy, float* sums) const {
    constexpr std::int64_t words = 256 * 1024;  // of weights
    const std::int64_t lanes = block.images.size(), panel_size = taps() * tap_size();
    const Windows x = windows(lanes, block.rows.size());
    x.gather(x_, block, 0, Windows::channels_of_tap(g_), copy);
    const std::vector<std::int64_t> offsets = x.tap_offsets();
    const std::int64_t parts = divide_up(panels_ * panel_size, words);
    for (std::int64_t part = 0; part < parts; ++part) {
      const Range panels = part_of(panels_, parts, part);
      for (std::int64_t row = 0; row < block.rows.size(); ++row) {
        for (std::int64_t q = 0; q < g_.out_width; q += columns_together()) {
          const Runs taps = taps_of(x, offsets, block.rows.begin + row, q);
          for (std::int64_t p = panels.begin; p < panels.end; ++p) {
            kernels_.multiply<Word>()(
                {copy + row * x.row_stride() + q * lanes * x.lane_stride(), x.lane_stride(), 1},
                columns_together() * lanes, weights + p * panel_size, kernels_.panel, taps.depth(),
                sums, kernels_.panel, false);
            store(sums, block, row, q, p);
          }
        }
      }
    }
  }

  /// The taps of the outputs from (row, q) on that are computed together, without those in the
  /// padding: in the windows, where they begin at `offsets`, and in a panel of the weights.
  Runs taps_of(const Windows& x, const std::vector<std::int64_t>& offsets, std::int64_t row,
               std::int64_t q) const {
    Runs taps{tap_words_};
    for (std::int64_t tap = 0; tap < this->taps(); ++tap) {
      const auto [rows, columns] = x.outputs_of(tap);
      if (row < rows.begin || row >= rows.end || q < columns.begin || q >= columns.end) continue;
      taps.left.push_back(offsets[static_cast<std::size_t>(tap)]);
      taps.right.push_back(tap * tap_size());
    }
    return taps;
  }

  /// y = sums + bias for some columns of a row of the block, from column q on, and a panel.
  void store(const float* sums, const Block& block, std::int64_t row, std::int64_t q,
             std::int64_t p) const {
    const std::int64_t k = p * kernels_.panel, lanes = block.images.size();
    T* const y = y_.data + block.images.begin * y_.image + (block.rows.begin + row) * y_.row +
                 q * y_.column + k;
    kernels_.store_rows<T>()(
        sums, kernels_.panel, bias_ == nullptr ? nullptr : bias_ + k,
        {y, columns_together() * lanes, std::min<std::int64_t>(kernels_.panel, weight_.K - k),
         y_.column, lanes, y_.image});
  }

  const simd::Kernels& kernels_;
  const T* x_;
  Conv2dGeometry g_;
  WeightView weight_;
  const float* bias_;
  Image<T> y_;
  std::int64_t tap_words_;
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
      : taps(divide_up(kernel - phase, stride)) {
    const std::int64_t skipped = phase < pad ? divide_up(pad - phase, stride) : 0;
    first = phase - pad + skipped * stride;
    count = first < size ? divide_up(size - first, stride) : 0;
    padding = taps - 1 - skipped;
  }
};

}  // namespace

bool supports(const Conv2dGeometry& g) { return g.groups == 1 && g.dilation == Size2(1); }

std::int64_t terms(const Conv2dGeometry& g) {
  using Windows = direct::Windows<float, float>;
  const Windows windows(g, 1, 1, g.out_height, Windows::channels_of_tap(g));
  const std::int64_t of_a_tap = Windows::are_whole(g) ? g.kernel.height * g.kernel.width : 1;
  std::int64_t terms = 0;
  for (std::int64_t tap = 0; tap < Windows::tap_count(g); ++tap) {
    const auto [rows, columns] = windows.outputs_of(tap);
    terms += g.N * rows.size() * columns.size() * of_a_tap;
  }
  return terms;
}

template <class T>
void conv2d(const T* input, const float* weight, const float* bias, T* output,
            const Conv2dGeometry& g) {
  if (g.output_pixels() == 0) return;
  WeightView view{.data = weight,
                  .taps = {},
                  .J = g.C,
                  .K = g.O,
                  .j_stride = 1,
                  .k_stride = g.kernel.height * g.kernel.width * g.C};
  for (std::int64_t tap = 0; tap < g.kernel.height * g.kernel.width; ++tap) {
    view.taps.push_back(tap * g.C);
  }
  const std::int64_t row = g.out_width * g.O;
  simd::with_word<T>([&](auto word) {
    Convolution<T, decltype(word)>(input, g, view, bias, {output, g.out_height * row, row, g.O})
        .run();
  });
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
      if (g.N * h.count * w.count == 0) continue;
      WeightView view{.data = weight,
                      .taps = {},
                      .J = g.O,
                      .K = g.C,
                      .j_stride = g.kernel.height * g.kernel.width * g.C,
                      .k_stride = 1};
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
      const Image<T> pixels{dinput + h.first * row + w.first * g.C, g.H * row,
                            g.stride.height * row, g.stride.width * g.C};
      simd::with_word<T>([&](auto word) {
        Convolution<T, decltype(word)>(doutput, back, view, nullptr, pixels).run();
      });
    }
  }
}

GRADUS_INSTANTIATE(conv2d<float>)
GRADUS_INSTANTIATE(conv2d<BFloat16>)
GRADUS_INSTANTIATE(conv2d_backward_input<float>)
GRADUS_INSTANTIATE(conv2d_backward_input<BFloat16>)

}  // namespace gradus::cpu::direct
