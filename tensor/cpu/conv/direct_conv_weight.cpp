// The gradient of the weights: for each tap of the kernel a product of the output's gradient and
// the windows, summed over all pixels.
#include <algorithm>
#include <numeric>
#include <vector>

#include "tensor/backend/instantiate.h"
#include "tensor/cpu/conv/direct_conv.h"
#include "tensor/cpu/conv/windows.h"
#include "tensor/cpu/parallel.h"

namespace gradus::cpu::direct {
namespace {

/// dweight, shared out as tasks: a part of the input channels and a part of the pixels, whose sums
/// are added in order. The words of both factors are of `per_word` images: doutput enters as
/// [output][pixel], the input as windows.
template <class T, class Word>
class WeightGradient {
 public:
  WeightGradient(const T* input, const T* doutput, const Conv2dGeometry& g)
      : kernels_(simd::kernels()),
        input_(input),
        doutput_(doutput),
        g_(g),
        channels_(Windows::channels_of_tap(g)),
        panels_(divide_up(channels_, kernels_.panel)),
        lanes_(std::clamp<std::int64_t>(
            divide_up(g.N, per_word), 1,
            Windows::are_narrow(g) ? whole_run : whole_run / std::gcd(g.out_width, whole_run))) {
    // A task's sums take at most half of a second-level cache.
    constexpr std::int64_t sums = 256 * 1024, enough_tasks = 16;
    channel_parts_ = Windows::are_whole(g)
                         ? 1
                         : divide_up(panels_, std::max<std::int64_t>(sums / panel_size(), 1));
    // They are added to once for each chunk of the pixels: some rows of images, or whole images.
    constexpr std::int64_t words = 1024;
    row_parts_ = std::min(divide_up(g.out_height * row_words(), words), g.out_height);
    units_ = divide_up(g.N, lanes_ * per_word) * row_parts_;
    chunk_ = std::max<std::int64_t>(words / unit_words(), 1);
    pixel_parts_ = std::max<std::int64_t>(std::min(enough_tasks / channel_parts_, units_), 1);
  }

  void run(float* dweight) const {
    if (units_ == 0) {  // the sum over no pixels
      std::fill_n(dweight, g_.O * g_.columns(), 0.0f);
      return;
    }
    const std::int64_t parts = channel_parts_ * pixel_parts_, output_parts = output_part_count();
    const std::int64_t outputs = divide_up(g_.O, output_parts);
    const Scratch<float> sums(parts * sums_size());
    const ThreadScratch<Word> left(outputs * left_stride()), right(chunk_ * windows().size());
    const ThreadScratch<Word> row(row_words() * spread(outputs));
    parallel_tasks(parts * output_parts, [&](std::int64_t task) {
      const std::int64_t part = task / output_parts;
      accumulate(part_of(panels_, channel_parts_, part / pixel_parts_),
                 part_of(units_, pixel_parts_, part % pixel_parts_),
                 part_of(g_.O, output_parts, task % output_parts),
                 {left.get(), right.get(), row.get()}, sums.data() + part * sums_size());
    });
    add_parts(sums.data(), dweight);
  }

 private:
  using Windows = direct::Windows<T, Word>;
  static constexpr std::int64_t per_word = simd::per_word<Word>;
  static constexpr std::int64_t whole_run = 16;  // words of depth that products take as a whole

  /// A thread's memory: a chunk of the factors, and a row of doutput before it is transposed.
  struct Memory {
    Word *left, *right, *row;
  };

  /// A row of outputs, and where it begins in both factors.
  struct Row {
    std::int64_t p, left, right;
  };

  std::int64_t taps() const { return Windows::tap_count(g_); }
  /// The sums of a panel of channels, [tap][output][channel in panel]; of a task.
  std::int64_t panel_size() const { return taps() * g_.O * kernels_.panel; }
  std::int64_t sums_size() const { return divide_up(panels_, channel_parts_) * panel_size(); }

  /// Words of pixels: of a row of outputs in all lanes; of a unit, which is some rows.
  std::int64_t row_words() const { return g_.out_width * lanes_; }
  std::int64_t unit_words() const { return divide_up(g_.out_height, row_parts_) * row_words(); }
  std::int64_t left_stride() const { return spread(chunk_ * unit_words()); }

  Windows windows() const {
    return {g_, lanes_, per_word, divide_up(g_.out_height, row_parts_),
            divide_up(panels_, channel_parts_) * kernels_.panel};
  }

  /// Enough to keep all threads busy. The sums do not depend on it.
  std::int64_t output_part_count() const {
    return std::clamp<std::int64_t>(
        divide_up(2 * omp_get_max_threads(), channel_parts_ * pixel_parts_), 1,
        std::max<std::int64_t>(g_.O / kernels_.panel, 1));
  }

  Block block(std::int64_t unit) const {
    const std::int64_t images = lanes_ * per_word, first = unit / row_parts_ * images;
    return {{first, std::min(first + images, g_.N)},
            part_of(g_.out_height, row_parts_, unit % row_parts_)};
  }

  /// A task's sums of a range of outputs, over a range of units.
  void accumulate(const Range& panels, const Range& units, const Range& outputs,
                  const Memory& memory, float* sums) const {
    const Windows x = windows();
    const std::vector<std::int64_t> taps = x.tap_offsets();
    const std::int64_t first = panels.begin * kernels_.panel;
    const std::int64_t channels = std::min(panels.end * kernels_.panel, channels_) - first;
    std::vector<Row> rows;  // of the chunk's units
    for (std::int64_t begin = units.begin; begin < units.end; begin += chunk_) {
      const std::int64_t end = std::min(begin + chunk_, units.end);
      rows.clear();
      for (std::int64_t unit = begin; unit < end; ++unit) {
        const Block outputs_of_unit = block(unit);
        Word* const copy = memory.right + (unit - begin) * x.size();
        x.gather(input_, outputs_of_unit, first, channels, copy);
        for (std::int64_t p = 0; p < outputs_of_unit.rows.size(); ++p) {
          rows.push_back({outputs_of_unit.rows.begin + p,
                          (unit - begin) * unit_words() + p * row_words(),
                          copy - memory.right + p * x.row_stride()});
          gather_doutput(outputs_of_unit.images, outputs_of_unit.rows.begin + p, outputs,
                         memory.row, memory.left + rows.back().left);
        }
      }
      std::vector<Runs> pixels;  // of each tap
      for (std::int64_t tap = 0; tap < this->taps(); ++tap)
        pixels.push_back(pixels_of(x, tap, rows));
      float* to = sums + outputs.begin * kernels_.panel;
      for (std::int64_t c = 0; c < channels; c += kernels_.panel) {
        for (std::size_t tap = 0; tap < pixels.size(); ++tap) {
          kernels_.multiply<Word>()({memory.left, left_stride(), 1}, outputs.size(),
                                    memory.right + taps[tap] + c, x.lane_stride(),
                                    pixels[tap].depth(), to, kernels_.panel, begin > units.begin);
          to += g_.O * kernels_.panel;  // beyond the channels: computed, never read
        }
      }
    }
  }

  /// The pixels of some rows that take part in the products of a tap: in doutput, and in the
  /// windows.
  Runs pixels_of(const Windows& x, std::int64_t tap, const std::vector<Row>& rows) const {
    const auto [p, q] = x.outputs_of(tap);
    Runs pixels{q.size() * lanes_};
    for (const Row& row : rows) {
      if (row.p < p.begin || row.p >= p.end) continue;
      pixels.left.push_back(row.left + q.begin * lanes_);
      pixels.right.push_back(row.right + q.begin * lanes_ * x.lane_stride());
    }
    return pixels;
  }

  /// to [output][column, lane] = row p of doutput; images beyond the last are zeros.
  void gather_doutput(const Range& images, std::int64_t p, const Range& outputs, Word* row,
                      Word* to) const {
    const std::int64_t stride = spread(outputs.size());
    const std::int64_t image = g_.out_height * g_.out_width * g_.O;
    Word* next = row;
    for (std::int64_t q = 0; q < g_.out_width; ++q) {
      const T* const from = doutput_ + (p * g_.out_width + q) * g_.O + outputs.begin;
      for (std::int64_t lane = 0; lane < lanes_; ++lane, next += stride) {
        const std::int64_t n = images.begin + lane * per_word;
        if (n < images.end) {
          interleave_rows(from + n * image, image, std::min(per_word, images.end - n),
                          outputs.size(), next, 0);
        } else {
          std::fill_n(next, outputs.size(), Word{});
        }
      }
    }
    kernels_.transpose(row, stride, row_words(), outputs.size(), to, left_stride());
  }

  /// dweight = the sums of all tasks.
  void add_parts(const float* sums, float* dweight) const {
#pragma omp parallel for schedule(static)
    for (std::int64_t o = 0; o < g_.O; ++o) {
      for (std::int64_t part = 0; part < channel_parts_; ++part) {
        const Range panels = part_of(panels_, channel_parts_, part);
        const float* from = sums + part * pixel_parts_ * sums_size() + o * kernels_.panel;
        for (std::int64_t p = panels.begin; p < panels.end; ++p) {
          const std::int64_t c = p * kernels_.panel;
          for (std::int64_t tap = 0; tap < taps(); ++tap, from += g_.O * kernels_.panel) {
            add_pixel_parts(from, std::min<std::int64_t>(kernels_.panel, channels_ - c),
                            dweight + (o * taps() + tap) * channels_ + c);
          }
        }
      }
    }
  }
  void add_pixel_parts(const float* sums, std::int64_t channels, float* to) const {
    std::copy_n(sums, channels, to);
    for (std::int64_t part = 1; part < pixel_parts_; ++part) {
      sums += sums_size();
      for (std::int64_t c = 0; c < channels; ++c) to[c] += sums[c];
    }
  }

  const simd::Kernels& kernels_;
  const T* input_;
  const T* doutput_;
  Conv2dGeometry g_;
  std::int64_t channels_;       // of a tap of the windows
  std::int64_t panels_;         // of them
  std::int64_t lanes_;          // of `per_word` images
  std::int64_t channel_parts_;  // in whole panels
  std::int64_t row_parts_, units_;
  std::int64_t chunk_;  // units
  std::int64_t pixel_parts_;
};

}  // namespace

template <class T>
void conv2d_backward_weight(const T* input, const T* doutput, float* dweight,
                            const Conv2dGeometry& g) {
  simd::with_word<T>(
      [&](auto word) { WeightGradient<T, decltype(word)>(input, doutput, g).run(dweight); });
}

GRADUS_INSTANTIATE(conv2d_backward_weight<float>)
GRADUS_INSTANTIATE(conv2d_backward_weight<BFloat16>)

}  // namespace gradus::cpu::direct
