// The part of the images that a block of outputs reads, copied so that products can take the
// windows in place. Internal to the CPU's direct convolutions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "tensor/backend/geometry.h"
#include "tensor/cpu/conv/im2col.h"
#include "tensor/cpu/gemm/packing.h"
#include "tensor/cpu/simd/inner_kernels.h"

namespace gradus::cpu::direct {

/// The outputs of some rows of some images.
struct Block {
  Range images, rows;
};

/// Runs of words that a product adds up along, and where they begin in its two factors.
struct Runs {
  std::int64_t words;  ///< of each
  std::vector<std::int64_t> left{}, right{};

  /// Without runs, the sum is one over no words.
  simd::Depth depth() const {
    if (left.empty()) return {0};
    return {words, std::ssize(left), left.data(), right.data()};
  }
};

/// Along one axis: the outputs whose window has its tap number `tap` in the image, not the padding.
inline Range outputs_of_tap(std::int64_t tap, std::int64_t stride, std::int64_t padding,
                            std::int64_t size, std::int64_t outputs) {
  const auto first_from = [&](std::int64_t pixel) {  // the first output whose tap is there or later
    return std::clamp<std::int64_t>(
        divide_up(std::max<std::int64_t>(pixel + padding - tap, 0), stride), 0, outputs);
  };
  return {first_from(0), first_from(size)};
}

/// The copy of what a block reads is [row][column][lane][word], with zeros for padding. Its lanes
/// are images: the windows of one column of outputs in all lanes, then the next column's, so lie at
/// one distance, however narrow the images are. Rows and columns are sorted by their phase, the
/// remainder modulo the stride, so that this holds for any stride. Each tap of the kernel reads the
/// same windows, moved by an offset.
///
/// With few channels whole windows are copied instead, [row of
/// outputs][column][lane][tap][channel], as if they were the channels of a 1x1 convolution: a
/// single tap fills the products' vectors.
///
/// A word holds neighbouring channels of an image; or, for sums over pixels, one channel of
/// `per_word` images, which then make a lane.
template <class T, class Word>
class Windows {
 public:
  using Element = simd::Element<Word>;
  static constexpr std::int64_t per_word = simd::per_word<Word>;

  /// Whether whole windows are copied; the channels of one tap then.
  static bool are_whole(const Conv2dGeometry& g) {
    constexpr std::int64_t few = 32;  // a panel of products
    return g.C < few && g.kernel != Size2(1);
  }
  static std::int64_t channels_of_tap(const Conv2dGeometry& g) {
    return are_whole(g) ? g.columns() : g.C;
  }
  static std::int64_t tap_count(const Conv2dGeometry& g) {
    return are_whole(g) ? 1 : g.kernel.height * g.kernel.width;
  }

  /// Whether the columns of outputs are so few that it pays to leave out the taps that each has in
  /// the padding. Those that a whole row has there are left out of any image.
  static bool are_narrow(const Conv2dGeometry& g) { return tap_count(g) > 1 && g.out_width <= 2; }

  /// For blocks of at most `rows` rows of outputs, and as many channels of a tap.
  Windows(const Conv2dGeometry& g, std::int64_t lanes, std::int64_t images_per_lane,
          std::int64_t rows, std::int64_t channels)
      : g_(g),
        kernel_(are_whole(g) ? Size2(1) : g.kernel),
        stride_(are_whole(g) ? Size2(1) : g.stride),
        lanes_(lanes),
        images_per_lane_(images_per_lane),
        words_(divide_up(channels * images_per_lane, per_word)),
        pixel_(words_ < 16 ? words_ : spread(words_)),
        phases_(std::min(stride_.height, kernel_.height), std::min(stride_.width, kernel_.width)),
        phase_size_(rows + (kernel_.height - 1) / stride_.height,
                    g.out_width + (kernel_.width - 1) / stride_.width),
        row_(spread(phases_.width * phase_size_.width * lanes * pixel_)) {}

  /// Words of the copy.
  std::int64_t size() const { return phases_.height * phase_size_.height * row_; }
  /// Words between the windows of a lane and the next; of a row of outputs and the next.
  std::int64_t lane_stride() const { return pixel_; }
  std::int64_t row_stride() const { return row_; }

  /// Where each tap's part of the first window begins.
  std::vector<std::int64_t> tap_offsets() const {
    const auto place = [](std::int64_t tap, std::int64_t stride, std::int64_t phase_size) {
      return tap % stride * phase_size + tap / stride;
    };
    std::vector<std::int64_t> offsets;
    for (std::int64_t r = 0; r < kernel_.height; ++r) {
      for (std::int64_t s = 0; s < kernel_.width; ++s) {
        offsets.push_back(place(r, stride_.height, phase_size_.height) * row_ +
                          place(s, stride_.width, phase_size_.width) * lanes_ * pixel_);
      }
    }
    return offsets;
  }

  /// The rows and columns of outputs that take part in the products of a tap: all that have it in
  /// the image, and, unless the image is narrow, the other columns of these rows.
  std::pair<Range, Range> outputs_of(std::int64_t tap) const {
    const Range all_rows{0, g_.out_height}, all_columns{0, g_.out_width};
    if (are_whole(g_)) return {all_rows, all_columns};
    const Range rows = outputs_of_tap(tap / kernel_.width, g_.stride.height, g_.padding.height,
                                      g_.H, g_.out_height);
    if (!are_narrow(g_)) return {rows, all_columns};
    return {rows, outputs_of_tap(tap % kernel_.width, g_.stride.width, g_.padding.width, g_.W,
                                 g_.out_width)};
  }

  /// Copies what a block reads of channels [first_channel, first_channel + channels) of a tap: all
  /// of them where whole windows are copied.
  void gather(const T* input, const Block& block, std::int64_t first_channel, std::int64_t channels,
              Word* to) const {
    for_each_place(phases_.height, phase_size_.height, [&](std::int64_t phase, std::int64_t i) {
      if (are_whole(g_)) {
        if (block.rows.begin + i < block.rows.end) {
          gather_windows(input, block.images, block.rows.begin + i, to);
        }
      } else {
        const std::int64_t h =
            (block.rows.begin + i) * g_.stride.height + phase - g_.padding.height;
        const T* const from = input + h * g_.W * g_.C + first_channel;
        gather_row(from, h >= 0 && h < g_.H, block.images, channels, to);
      }
      to += row_;
    });
  }

 private:
  template <class Function>
  static void for_each_place(std::int64_t phases, std::int64_t phase_size,
                             const Function& function) {
    for (std::int64_t phase = 0; phase < phases; ++phase) {
      for (std::int64_t i = 0; i < phase_size; ++i) function(phase, i);
    }
  }

  /// A row of the images, or of padding.
  void gather_row(const T* row, bool inside, const Range& images, std::int64_t channels,
                  Word* to) const {
    for_each_place(phases_.width, phase_size_.width, [&](std::int64_t phase, std::int64_t i) {
      const std::int64_t w = i * g_.stride.width + phase - g_.padding.width;
      const bool padding = !inside || w < 0 || w >= g_.W;
      for_each_lane(images, [&](std::int64_t n, std::int64_t count) {
        copy(padding ? nullptr : row + n * image() + w * g_.C, count, channels, 0, to);
        end_pixel(channels, to);
        to += pixel_;
      });
    });
  }

  /// The windows of row p of the outputs.
  void gather_windows(const T* input, const Range& images, std::int64_t p, Word* to) const {
    const ColumnBlock taps{{}, {0, g_.kernel.height}};
    for (std::int64_t q = 0; q < g_.out_width; ++q) {
      for_each_lane(images, [&](std::int64_t n, std::int64_t count) {
        for_each_run(g_, taps, n, p, q, [&](auto column, auto from, auto length) {
          copy(from < 0 ? nullptr : input + from, count, length, column, to);
        });
        end_pixel(g_.columns(), to);
        to += pixel_;
      });
    }
  }

  /// Calls function(first image, images) for each lane, with no image for those beyond the last.
  template <class Function>
  void for_each_lane(const Range& images, const Function& function) const {
    for (std::int64_t lane = 0; lane < lanes_; ++lane) {
      const std::int64_t n = images.begin + lane * images_per_lane_;
      function(n, std::clamp<std::int64_t>(images.end - n, 0, images_per_lane_));
    }
  }

  std::int64_t image() const { return g_.H * g_.W * g_.C; }

  /// Channels [first, first + channels) of a pixel in `images` images; zeros for null or no image.
  void copy(const T* from, std::int64_t images, std::int64_t channels, std::int64_t first,
            Word* to) const {
    const bool by_words = images_per_lane_ > 1;
    Element* const elements = reinterpret_cast<Element*>(to);
    if (from == nullptr || images == 0) {
      std::fill_n(elements + first * images_per_lane_, channels * images_per_lane_, Element(0.0f));
    } else if (by_words) {
      interleave_rows(from, image(), images, channels, to + first, 0);
    } else if constexpr (!std::is_same_v<T, Element>) {
      copy_elements(from, channels, elements + first);
    } else {
      constexpr std::int64_t line = 64 / sizeof(T);  // a call for each pixel would take longer
      std::int64_t c = 0;
      for (; c + line <= channels; c += line) std::memcpy(elements + first + c, from + c, 64);
      std::copy(from + c, from + channels, elements + first + c);
    }
  }
  /// What the last word holds beyond the channels is zero.
  void end_pixel(std::int64_t channels, Word* to) const {
    const std::int64_t elements = channels * images_per_lane_;
    if (elements % per_word != 0) reinterpret_cast<Element*>(to)[elements] = Element(0.0f);
  }

  Conv2dGeometry g_;
  Size2 kernel_, stride_;  // 1 where whole windows are copied
  std::int64_t lanes_, images_per_lane_;
  std::int64_t words_, pixel_;  // of a tap of a window
  Size2 phases_;                // that are read
  Size2 phase_size_;            // rows and columns of a phase
  std::int64_t row_;
};

}  // namespace gradus::cpu::direct
