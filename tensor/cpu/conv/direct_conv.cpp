#include "tensor/cpu/conv/direct_conv.h"

#include <algorithm>
#include <atomic>
#include <vector>

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
  T* zeros = nullptr;  // the images, [N, image], if what lies between the outputs is to become 0

  /// Whether the pixels follow one another at the same distance throughout.
  bool contiguous(const Conv2dGeometry& g) const {
    return row == g.out_width * column && image == g.out_height * row;
  }
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
        row_stride_(in_place() ? words_ : spread(words_)),
        panels_(divide_up(weight.K, kernels_.panel)),
        streams_(can_stream()) {}

  void run() const {
    Tensor weights = scratch_words({panels_, words_ * kernels_.panel});
    Word* const packed = reinterpret_cast<Word*>(weights.data<float>());
    const std::int64_t blocks = block_count(), unit = block_unit();
    const std::int64_t units = pixels() / unit;
    const std::int64_t longest = divide_up(units, blocks) * unit;
    const ThreadScratch columns_memory(in_place() ? 0 : longest * row_stride_);
    const ThreadScratch offsets_memory(y_.contiguous(g_) ? 0 : longest * words_of_offset);
#pragma omp parallel
    {
#pragma omp for schedule(dynamic)
      for (std::int64_t p = 0; p < panels_; ++p) pack(p, packed + p * words_ * kernels_.panel);
#pragma omp for schedule(dynamic) nowait
      for (std::int64_t i = 0; i < blocks; ++i) {
        const Range block{units * i / blocks * unit, units * (i + 1) / blocks * unit};
        if (y_.zeros != nullptr) clear(block);
        const Word* columns = gather(block, columns_memory.get());
        const Stored y = destination(block, offsets_memory.get());
        for (std::int64_t p = 0; p < panels_; ++p) {
          multiply(columns, block.size(), p, packed + p * words_ * kernels_.panel, y);
        }
      }
      if (streams_) std::atomic_thread_fence(std::memory_order_seq_cst);
    }
  }

 private:
  using Word = simd::Word<T>;
  using Stored = simd::StoredPanel<T>;
  static constexpr int per_word = simd::Packing<T>::per_word;
  static constexpr std::int64_t words_of_offset = sizeof(std::int64_t) / sizeof(float);

  /// Whether a pixel's columns are its channels in the input.
  bool in_place() const {
    return g_.kernel == Size2(1) && g_.stride == Size2(1) && g_.padding == Size2(0) &&
           g_.out_height == g_.H && g_.out_width == g_.W && g_.C % per_word == 0;
  }

  std::int64_t pixels() const { return g_.N * g_.out_height * g_.out_width; }

  /// Blocks consist of whole rows where those are cleared.
  std::int64_t block_unit() const { return y_.zeros == nullptr ? 1 : g_.out_width; }

  /// Blocks whose columns fill at most a third of a second-level cache, or just enough pixels for
  /// products at their full speed; as many for each thread.
  std::int64_t block_count() const {
    constexpr std::int64_t words = 96 * 1024, fewest = 4, most = 16;
    const std::int64_t rows = kernels_.rows;
    const std::int64_t size =
        rows * std::clamp(words / (std::max<std::int64_t>(words_, 1) * rows), fewest, most);
    return std::clamp<std::int64_t>(round_up(divide_up(pixels(), size), omp_get_max_threads()), 1,
                                    std::max<std::int64_t>(pixels() / block_unit(), 1));
  }

  /// Zeros around the block's outputs: from the start of each row up to the next one's; the first
  /// and the last row have the rest of the image.
  void clear(const Range& block) const {
    for_each_row(g_, block, [&](std::int64_t n, std::int64_t h, const Range& w) {
      T* const image = y_.zeros + n * y_.image;
      T* const row = y_.data + n * y_.image + h * y_.row;
      T* from = h == 0 ? image : row;
      for (std::int64_t i = 0; i < w.size(); ++i) {
        T* const pixel = row + i * y_.column;
        clear(from, pixel);
        from = pixel + weight_.K;
      }
      clear(from, h + 1 == g_.out_height ? image + y_.image : row + y_.row);
    });
  }
  void clear(T* begin, T* end) const {
    if (streams_) {
      kernels_.stream_zeros(begin, (end - begin) * static_cast<std::int64_t>(sizeof(T)));
    } else {
      std::fill(begin, end, T(0.0f));
    }
  }

  /// Whether outputs are written past the caches, which saves reading each line before it is
  /// written: whole lines, of more outputs than the caches would keep for their reader.
  bool can_stream() const {
    constexpr std::int64_t line = 64, kept = std::int64_t{4} << 20;  // bytes
    constexpr std::int64_t size = sizeof(T);
    const auto whole = [](std::int64_t bytes) { return bytes % line == 0; };
    return whole(kernels_.panel * size) && weight_.K % kernels_.panel == 0 &&
           whole(y_.image * size) && whole(y_.row * size) && whole(y_.column * size) &&
           whole(static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(y_.data))) &&
           g_.N * y_.image * size >= kept;
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
  const Word* gather(const Range& block, float* memory) const {
    if (in_place()) return reinterpret_cast<const Word*>(x_ + block.begin * g_.C);
    T* const to = reinterpret_cast<T*>(memory);
    const std::int64_t columns = weight_.columns(), stride = row_stride_ * per_word;
    im2col(x_, to, g_, {block, {0, g_.kernel.height}}, stride);
    if (columns % per_word != 0) {
      for (std::int64_t i = 0; i < block.size(); ++i) to[i * stride + columns] = T(0.0f);
    }
    return reinterpret_cast<const Word*>(to);
  }

  /// Where the first panel of a block's outputs goes; `memory` is for their offsets.
  Stored destination(const Range& block, float* memory) const {
    if (y_.contiguous(g_)) {
      return {y_.data + block.begin * y_.column, y_.column, 0, nullptr, streams_};
    }
    auto* const offsets = reinterpret_cast<std::int64_t*>(memory);
    std::int64_t* next = offsets;
    for_each_row(g_, block, [&](std::int64_t n, std::int64_t h, const Range& w) {
      const std::int64_t row = n * y_.image + h * y_.row;
      for (std::int64_t i = w.begin; i < w.end; ++i) *next++ = row + i * y_.column;
    });
    return {y_.data, 0, 0, nullptr, streams_, offsets};
  }

  /// The outputs of a block of pixels and of panel `p`, whose weights are `packed`.
  void multiply(const Word* columns, std::int64_t pixels, std::int64_t p, const Word* packed,
                Stored y) const {
    const std::int64_t first = p * kernels_.panel;
    y.data += first;
    y.columns = std::min<std::int64_t>(kernels_.panel, weight_.K - first);
    y.bias = bias_ == nullptr ? nullptr : bias_ + first;
    kernels_.multiply_and_store<T>()({columns, row_stride_, 1}, pixels, packed, words_, y);
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
  bool streams_;
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
  // Some phases are read by no tap if strides exceed the kernel: the first other one clears them.
  T* zeros =
      g.kernel.height < g.stride.height || g.kernel.width < g.stride.width ? dinput : nullptr;
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
                      g.stride.width * g.C, zeros})
          .run();
      zeros = nullptr;
    }
  }
  if (zeros != nullptr) fill(dinput, T(0.0f), g.N * g.H * row);
}

#define GRADUS_INSTANTIATE(T)                                                            \
  template void conv2d(const T*, const float*, const float*, T*, const Conv2dGeometry&); \
  template void conv2d_backward_input(const T*, const float*, T*, const Conv2dGeometry&);
GRADUS_INSTANTIATE(float)
GRADUS_INSTANTIATE(BFloat16)
#undef GRADUS_INSTANTIATE

}  // namespace gradus::cpu::direct
