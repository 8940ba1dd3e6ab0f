// Winograd's gradient of the weights: one matrix product over the tiles for each frequency.
#include <algorithm>
#include <bit>
#include <deque>

#include "tensor/backend/instantiate.h"
#include "tensor/cpu/conv/winograd.h"
#include "tensor/cpu/conv/winograd_tiles.h"

namespace gradus::cpu::winograd {
namespace {

/// dweight = G^T dU G, where dU[frequency][o][c] is a product over the tiles, dM^T V, of what the
/// output's gradients and the inputs are transformed to. Sums are taken in an order that depends on
/// the shapes alone. Rows of V and dM are words of `per_word` tiles.
template <class T, class Word>
class WeightGradient {
 public:
  WeightGradient(const T* input, const T* doutput, const Conv2dGeometry& g)
      : algorithm_(simd::kernels(), scheme_of(g)),
        input_(input),
        doutput_(doutput),
        C_(g.C),
        O_(g.O),
        padded_C_(round_up(g.C, algorithm_.panel)),  // columns from C on are computed, never read
        grids_(g) {}

  /// Rows that the products sum over.
  std::int64_t rows() const { return divide_up(grids_.input.count(), per_word); }
  std::int64_t du_size() const {
    return Frequencies<float>::size(algorithm_.frequencies, O_, padded_C_);
  }

  /// For few weights: a thread sums over a part of the tiles, chunk by chunk in its cache.
  void by_tiles(std::int64_t parts, float* dweight) const {
    constexpr std::int64_t most_rows = 64;  // of a chunk
    const std::int64_t most = divide_up(rows(), parts), chunks = divide_up(most, most_rows);
    const std::int64_t chunk = divide_up(most, chunks);
    const Scratch<float> sums(parts * du_size());
    float* const du = sums.data();
    const ThreadScratch<float> scratch(chunk_size(chunk));
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t part = 0; part < parts; ++part) {
      const Chunk memory = chunk_in(scratch.get(), chunk);
      const Range range = part_of(rows(), parts, part);
      for (std::int64_t first = range.begin; first < range.end; first += chunk) {
        const Range now{first, std::min(first + chunk, range.end)};
        for (std::int64_t row = now.begin; row < now.end; ++row) {
          transform(row, row - now.begin, memory);
        }
        for (int f = 0; f < algorithm_.frequencies; ++f) {
          multiply(memory, now.size(), f, {0, O_}, {0, padded_C_},
                   Frequencies<float>(du + part * du_size(), O_, padded_C_), first > range.begin);
        }
      }
    }
    const Frequencies<float> all(du, O_, padded_C_);
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t o = 0; o < O_; ++o) {
      restore(all.from_row(o), parts, {o, o + 1}, {0, padded_C_}, dweight, false);
    }
  }

  /// For more weights: parts of the tiles, each summed chunk by chunk, block by block. If the
  /// threads can share out the parts evenly, each takes its own, whose transformed tiles never
  /// leave its caches: what another core wrote is slow to read where cores share no cache.
  /// Otherwise all threads work on each part. Either way the sums are the same.
  void by_blocks(std::int64_t parts, float* dweight) const {
    const std::int64_t weights = O_ * taps * taps * C_;
    const Scratch<float> others((parts - 1) * weights);
    const auto sums = [&](std::int64_t part) {
      return part == 0 ? dweight : others.data() + (part - 1) * weights;
    };
    const int threads = parts % omp_get_max_threads() == 0 ? omp_get_max_threads() : 1;
    std::deque<BlockMemory> memory;
    for (int i = 0; i < threads; ++i)
      memory.emplace_back(*this, divide_up(rows(), parts), omp_get_max_threads() / threads);
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (std::int64_t part = 0; part < parts; ++part) {
      sum_blocks(part_of(rows(), parts, part),
                 memory[static_cast<std::size_t>(omp_get_thread_num())], sums(part));
    }
    for (std::int64_t part = 1; part < parts; ++part) {
      add_scaled(1.0f, sums(part), dweight, weights);
    }
  }

 private:
  using Transformed = Frequencies<Word>;
  static constexpr int per_word = simd::per_word<Word>;

  /// Some transformed tiles.
  struct Chunk {
    Transformed v, dm;
  };

  std::int64_t chunk_size(std::int64_t rows) const {
    return Transformed::size(algorithm_.frequencies, rows, padded_C_) +
           Transformed::size(algorithm_.frequencies, rows, O_);
  }
  Chunk chunk_in(float* memory, std::int64_t rows) const {
    return {{memory, rows, padded_C_},
            {memory + Transformed::size(algorithm_.frequencies, rows, padded_C_), rows, O_}};
  }

  /// A chunk's transformed tiles, and sums of a block for each of the threads that work on it.
  struct BlockMemory {
    BlockMemory(const WeightGradient& owner, std::int64_t rows, int threads)
        : chunk_rows(owner.chunk_rows(rows)),
          transformed(owner.chunk_size(chunk_rows)),
          sums(
              Frequencies<float>::size(owner.algorithm_.frequencies, block_outputs, block_channels),
              threads) {}
    std::int64_t chunk_rows;
    Scratch<float> transformed;
    ThreadScratch<float> sums;
  };

  /// Of a block of weights at most. Its sums take 252 KiB of a cache, 567 with stride 2.
  static constexpr std::int64_t block_outputs = 56, block_channels = most_panel;

  /// Rows of the chunks, nearly equal, of a part of `rows`. A chunk takes a share of a last-level
  /// cache, and a panel of its V fits a first-level one.
  std::int64_t chunk_rows(std::int64_t rows) const {
    constexpr std::int64_t words = 15 << 17, most = 128;
    const std::int64_t fit =
        std::clamp<std::int64_t>(words / (algorithm_.frequencies * (padded_C_ + O_)), 1, most);
    return divide_up(rows, std::max<std::int64_t>(divide_up(rows, fit), 1));
  }

  /// dweight = its part from the tiles of a range of rows. Chunk by chunk they are transformed,
  /// then the weights are shared out in blocks, whose sums over the chunk stay in a cache until
  /// they are transformed back.
  void sum_blocks(const Range& range, const BlockMemory& memory, float* dweight) const {
    const std::int64_t rows_of_blocks = divide_up(O_, block_outputs),
                       columns_of_blocks = divide_up(padded_C_, block_channels);
    const Chunk chunk = chunk_in(memory.transformed.data(), memory.chunk_rows);
    std::int64_t begin = range.begin;
    do {  // at least once: the sum over no tiles is zero
      const Range now{begin, std::min(begin + memory.chunk_rows, range.end)};
// Within by_blocks' region this one is nested, and OMP_NUM_THREADS=2,8 would have more threads.
#pragma omp parallel num_threads(memory.sums.threads())
      {
#pragma omp for schedule(dynamic)
        for (std::int64_t row = now.begin; row < now.end; ++row) {
          transform(row, row - now.begin, chunk);
        }
#pragma omp for collapse(2) schedule(dynamic)
        for (std::int64_t column = 0; column < columns_of_blocks; ++column) {
          for (std::int64_t row = 0; row < rows_of_blocks; ++row) {
            const Range outputs = part_of(O_, rows_of_blocks, row);
            const std::int64_t c = column * block_channels;
            const Range channels{c, std::min(c + block_channels, padded_C_)};
            const Frequencies<float> du(memory.sums.get(), outputs.size(), channels.size());
            for (int f = 0; f < algorithm_.frequencies; ++f) {
              multiply(chunk, now.size(), f, outputs, channels, du, false);
            }
            restore(du, 1, outputs, channels, dweight, begin > range.begin);
          }
        }
      }
      begin = now.end;
    } while (begin < range.end);
  }

  /// Pointers to the pixels of the tiles of a row, null beyond the last tile.
  void find_row(const T* images, const TileGrid& grid, std::int64_t row, int side,
                const T** pixels) const {
    for (int i = 0; i < per_word; ++i, pixels += side * side) {
      const std::int64_t tile = row * per_word + i;
      if (tile < grid.count()) {
        find_pixels(images, grid, tile, side, pixels);
      } else {
        std::fill_n(pixels, side * side, nullptr);
      }
    }
  }

  void transform(std::int64_t row, std::int64_t to_row, const Chunk& to) const {
    const T* pixels[most_per_word * most_tile_side * most_tile_side];
    find_row(input_, grids_.input, row, algorithm_.transforms.input_side, pixels);
    algorithm_.transforms.transform_input_tiles(pixels, C_, to.v.at(0, to_row), to.v.stride);
    find_row(doutput_, grids_.output, row, algorithm_.transforms.output_side, pixels);
    algorithm_.transforms.transform_doutput_tiles(pixels, O_, to.dm.at(0, to_row), to.dm.stride);
  }

  /// du[f] [outputs, channels] = (add ? du[f] : 0) + dM^T V over a chunk's first `rows` rows.
  void multiply(const Chunk& chunk, std::int64_t rows, int f, const Range& outputs,
                const Range& channels, const Frequencies<float>& du, bool add) const {
    for (std::int64_t c = channels.begin; c < channels.end; c += algorithm_.panel) {
      algorithm_.multiply({chunk.dm.at(f, 0) + outputs.begin, 1, chunk.dm.row_stride},
                          outputs.size(), chunk.v.at(f, 0) + c, chunk.v.row_stride, {rows},
                          du.at(f, 0) + c - channels.begin, du.row_stride, add);
    }
  }

  /// A block of dweight = (add ? dweight : 0) + G^T dU G, dU the sum of `parts`.
  void restore(const Frequencies<float>& du, std::int64_t parts, const Range& outputs,
               const Range& channels, float* dweight, bool add) const {
    constexpr std::int64_t ahead = 2, line = 16;  // outputs, weights
    const std::int64_t end = std::min(channels.end, C_);
    for (std::int64_t o = outputs.begin; o < outputs.end; ++o) {
      // The weights of an output that follows: too far apart for the hardware to ask for them.
      const std::int64_t next_taps = o + ahead < outputs.end ? taps * taps : 0;
      for (std::int64_t tap = 0; tap < next_taps; ++tap) {
        const float* const next = dweight + ((o + ahead) * taps * taps + tap) * C_;
        for (std::int64_t c = channels.begin; c < end; c += line) __builtin_prefetch(next + c, 1);
      }
      algorithm_.transforms.restore_weight(
          du.at(0, o - outputs.begin), du.stride, parts, du_size(), end - channels.begin,
          dweight + o * taps * taps * C_ + channels.begin, C_, add);
    }
  }

  Algorithm<T, Word> algorithm_;
  const T* input_;
  const T* doutput_;
  std::int64_t C_, O_, padded_C_;
  Grids grids_;
};

/// dweight, by the way that suits the sizes.
template <class T, class Word>
void sum_tiles(const WeightGradient<T, Word>& gradient, const Conv2dGeometry& g, float* dweight) {
  // Parts of the tiles: enough to keep many threads busy, as long as their sums take little memory.
  constexpr std::int64_t enough = 16, fewest = 4, words = 2 << 20, fewest_rows = 64;
  const std::int64_t most_by_rows = std::min(gradient.rows() / fewest_rows, enough);
  const auto parts = static_cast<std::int64_t>(std::bit_floor(
      static_cast<std::uint64_t>(std::min(words / gradient.du_size(), most_by_rows))));
  if (parts >= fewest) return gradient.by_tiles(parts, dweight);
  const bool in_parts = most_by_rows >= fewest && g.O * taps * taps * g.C * (fewest - 1) <= words;
  gradient.by_blocks(in_parts ? fewest : 1, dweight);
}

}  // namespace

template <class T>
void conv2d_backward_weight(const T* input, const T* doutput, float* dweight,
                            const Conv2dGeometry& g) {
  simd::with_word<T>([&](auto word) {
    sum_tiles(WeightGradient<T, decltype(word)>(input, doutput, g), g, dweight);
  });
}

GRADUS_INSTANTIATE(conv2d_backward_weight<float>)
GRADUS_INSTANTIATE(conv2d_backward_weight<BFloat16>)

}  // namespace gradus::cpu::winograd
