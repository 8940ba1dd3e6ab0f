// The gradient of the weights: products doutput^T columns, summed over blocks of output pixels.
#include <algorithm>
#include <type_traits>

#include "tensor/cpu/conv/direct_conv.h"
#include "tensor/cpu/conv/im2col.h"
#include "tensor/cpu/gemm/packing.h"

namespace gradus::cpu::direct {
namespace {

/// dweight [O][columns], shared out as tasks: a part of the kernel's rows and a part of the output
/// pixels, whose sums are added in order. Rows of the factors are words of `per_word` pixels.
template <class T>
class WeightGradient {
 public:
  WeightGradient(const T* input, const T* doutput, const Conv2dGeometry& g)
      : kernels_(simd::kernels()), input_(input), doutput_(doutput), g_(g) {
    constexpr std::int64_t longest = 1024, enough_tasks = 16, fewest_pixels = 512;
    kernel_parts_ = g_.columns() > longest ? g.kernel.height : 1;
    pixel_parts_ =
        std::clamp<std::int64_t>(enough_tasks / kernel_parts_, 1,
                                 std::max<std::int64_t>(g_.output_pixels() / fewest_pixels, 1));
    std::int64_t widest = 0;
    for (std::int64_t i = 0; i < kernel_parts_; ++i) widest = std::max(widest, columns(i));
    columns_stride_ = spread(round_up(widest, kernels_.panel));
    // A block's columns take at most half of a second-level cache.
    constexpr std::int64_t words = 128 * 1024, fewest_rows = 128, most_rows = 256;
    block_rows_ = std::clamp(words / columns_stride_, fewest_rows, most_rows);
    sums_size_ = g.O * columns_stride_;
  }

  void run(float* dweight) const {
    const std::int64_t parts = kernel_parts_ * pixel_parts_, output_parts = output_part_count();
    const Scratch<float> sums(parts * sums_size_);
    const ThreadScratch<float> scratch(block_rows_ * (2 * columns_stride_ + spread(g_.O)));
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (std::int64_t part = 0; part < parts; ++part) {
      for (std::int64_t i = 0; i < output_parts; ++i) {
        const Range panels = part_of(divide_up(g_.O, kernels_.panel), output_parts, i);
        const Range outputs{panels.begin * kernels_.panel,
                            std::min(panels.end * kernels_.panel, g_.O)};
        accumulate({pixel_part(part % pixel_parts_),
                    part_of(g_.kernel.height, kernel_parts_, part / pixel_parts_)},
                   outputs, scratch.get(), sums.data() + part * sums_size_);
      }
    }
    add_parts(sums.data(), dweight);
  }

 private:
  using Word = simd::Word<T>;
  static constexpr int per_word = simd::Packing<T>::per_word;

  /// [word of pixels][n]
  struct Factor {
    const Word* data;
    std::int64_t n, stride;
  };

  /// Enough to keep all threads busy. The sums do not depend on it.
  std::int64_t output_part_count() const {
    return std::clamp<std::int64_t>(
        divide_up(2 * omp_get_max_threads(), kernel_parts_ * pixel_parts_), 1,
        std::max<std::int64_t>(g_.O / kernels_.panel, 1));
  }

  /// Consists of whole words, but for the last part.
  Range pixel_part(std::int64_t i) const {
    const Range words = part_of(divide_up(g_.output_pixels(), per_word), pixel_parts_, i);
    return {words.begin * per_word, std::min(words.end * per_word, g_.output_pixels())};
  }
  /// Of a part of the kernel.
  std::int64_t columns(std::int64_t kernel_part) const {
    return columns_of(g_, part_of(g_.kernel.height, kernel_parts_, kernel_part));
  }

  /// sums = doutput^T columns [O][columns] of a range of outputs over a block of columns.
  void accumulate(const ColumnBlock& all, const Range& outputs, float* memory, float* sums) const {
    sums += outputs.begin * columns_stride_;
    std::int64_t begin = all.pixels.begin;
    do {  // at least once: the sum over no pixels is zero
      const Range block{begin, std::min(begin + block_rows_ * per_word, all.pixels.end)};
      const std::int64_t rows = divide_up(block.size(), per_word);
      const Factor columns = gather_columns({block, all.kernel_rows}, memory);
      const Factor doutput =
          gather_doutput(block, outputs, memory + 2 * block_rows_ * columns_stride_);
      for (std::int64_t i = 0; i < columns.n; i += kernels_.panel) {
        kernels_.multiply<T>()({doutput.data, 1, doutput.stride}, doutput.n, columns.data + i,
                               columns.stride, rows, sums + i, columns_stride_,
                               begin > all.pixels.begin);
      }
      begin = block.end;
    } while (begin < all.pixels.end);
  }

  /// What lies beyond the columns is multiplied, perhaps, but never read.
  Factor gather_columns(const ColumnBlock& block, float* memory) const {
    const std::int64_t columns = columns_of(g_, block.kernel_rows);
    Word* const words = reinterpret_cast<Word*>(memory);
    if constexpr (per_word == 1) {
      im2col(input_, memory, g_, block, columns_stride_);
    } else {
      T* const rows = reinterpret_cast<T*>(memory + block_rows_ * columns_stride_);
      im2col(input_, rows, g_, block, columns_stride_);
      interleave_rows(rows, columns_stride_, block.pixels.size(), columns, words, columns_stride_);
    }
    return {words, columns, columns_stride_};
  }

  Factor gather_doutput(const Range& block, const Range& outputs, float* memory) const {
    const T* dy = doutput_ + block.begin * g_.O + outputs.begin;
    if constexpr (per_word == 1) {
      return {dy, outputs.size(), g_.O};
    } else {
      Word* const words = reinterpret_cast<Word*>(memory);
      const std::int64_t stride = spread(outputs.size());
      interleave_rows(dy, g_.O, block.size(), outputs.size(), words, stride);
      return {words, outputs.size(), stride};
    }
  }

  void add_parts(const float* sums, float* dweight) const {
#pragma omp parallel for schedule(static)
    for (std::int64_t o = 0; o < g_.O; ++o) {
      float* to = dweight + o * g_.columns();
      for (std::int64_t i = 0; i < kernel_parts_; ++i) {
        const float* from = sums + i * pixel_parts_ * sums_size_ + o * columns_stride_;
        for (std::int64_t part = 0; part < pixel_parts_; ++part, from += sums_size_) {
          for (std::int64_t c = 0; c < columns(i); ++c) {
            to[c] = part == 0 ? from[c] : to[c] + from[c];
          }
        }
        to += columns(i);
      }
    }
  }

  const simd::Kernels& kernels_;
  const T* input_;
  const T* doutput_;
  Conv2dGeometry g_;
  std::int64_t kernel_parts_, pixel_parts_;
  std::int64_t columns_stride_;  // between rows of columns
  std::int64_t block_rows_;      // words of pixels
  std::int64_t sums_size_;       // of a task
};

}  // namespace

template <class T>
void conv2d_backward_weight(const T* input, const T* doutput, float* dweight,
                            const Conv2dGeometry& g) {
  WeightGradient<T>(input, doutput, g).run(dweight);
}

template void conv2d_backward_weight(const float*, const float*, float*, const Conv2dGeometry&);
template void conv2d_backward_weight(const BFloat16*, const BFloat16*, float*,
                                     const Conv2dGeometry&);

}  // namespace gradus::cpu::direct
