// Winograd's gradient of the weights: one matrix product over the tiles for each frequency.
#include <algorithm>
#include <bit>
#include <vector>

#include "tensor/cpu/winograd.h"
#include "tensor/cpu/winograd_tiles.h"

namespace gradus::cpu::winograd {
namespace {

/// dweight = G^T dU G, where dU[frequency][o][c] is a product over the tiles, dM^T V, of what the
/// output's gradients and the inputs are transformed to. Sums are taken in an order that depends on
/// the shapes alone.
class WeightGradient {
 public:
  WeightGradient(const float* input, const float* doutput, const Conv2dGeometry& g)
      : input_(input),
        doutput_(doutput),
        C_(g.C),
        O_(g.O),
        padded_C_(round_up(g.C, panel)),  // the columns from C on are computed, but never read
        grids_(g),
        zeros_(static_cast<std::size_t>(std::max(g.C, g.O))) {}

  std::int64_t tiles() const { return grids_.input.count(); }
  std::int64_t du_size() const { return Frequencies::size(O_, padded_C_); }

  /// For few weights: a thread sums over a part of the tiles, chunk by chunk in its cache.
  void by_tiles(std::int64_t parts, float* dweight) const {
    constexpr std::int64_t most_tiles = 64;  // of a chunk
    const std::int64_t most = divide_up(tiles(), parts), chunks = divide_up(most, most_tiles);
    const std::int64_t chunk = divide_up(most, chunks);
    Tensor sums = scratch_floats({parts, du_size()});
    float* du = sums.data<float>();
    const ThreadScratch scratch(Frequencies::size(chunk, padded_C_) + Frequencies::size(chunk, O_));
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t part = 0; part < parts; ++part) {
      const Chunk memory = chunk_in(scratch.get(), chunk);
      const Range range{tiles() * part / parts, tiles() * (part + 1) / parts};
      for (std::int64_t first = range.begin; first < range.end; first += chunk) {
        const Range now{first, std::min(first + chunk, range.end)};
        for (std::int64_t t = now.begin; t < now.end; ++t) transform(t, t - now.begin, memory);
        for (int f = 0; f < frequencies; ++f) {
          multiply(memory, now.size(), f, {0, O_}, du + part * du_size(), first > range.begin);
        }
      }
    }
    restore(du, parts, dweight);
  }

  /// For many weights: all threads transform a chunk of the tiles, then share out the products.
  void by_frequencies(float* dweight) const {
    constexpr std::int64_t elements = 6 << 20;  // a last-level cache's worth of floats
    const std::int64_t chunk = std::clamp<std::int64_t>(elements / (frequencies * (padded_C_ + O_)),
                                                        1, std::max<std::int64_t>(tiles(), 1));
    Tensor scratch =
        scratch_floats({Frequencies::size(chunk, padded_C_) + Frequencies::size(chunk, O_)});
    const Chunk memory = chunk_in(scratch.data<float>(), chunk);
    Tensor sums = scratch_floats({du_size()});
    float* du = sums.data<float>();
    constexpr std::int64_t outputs = 4 * most_rows;  // a task
    const std::int64_t groups = divide_up(O_, outputs);
    std::int64_t first = 0;
    do {
      const Range now{first, std::min(first + chunk, tiles())};
#pragma omp parallel
      {
#pragma omp for schedule(dynamic)
        for (std::int64_t t = now.begin; t < now.end; ++t) transform(t, t - now.begin, memory);
#pragma omp for collapse(2) schedule(dynamic)
        for (int f = 0; f < frequencies; ++f) {
          for (std::int64_t i = 0; i < groups; ++i) {
            multiply(memory, now.size(), f, {O_ * i / groups, O_ * (i + 1) / groups}, du,
                     now.begin > 0);
          }
        }
      }
      first = now.end;
    } while (first < tiles());
    restore(du, 1, dweight);
  }

 private:
  /// Some transformed tiles.
  struct Chunk {
    Frequencies v, dm;
  };

  Chunk chunk_in(float* memory, std::int64_t tiles) const {
    return {{memory, tiles, padded_C_}, {memory + Frequencies::size(tiles, padded_C_), tiles, O_}};
  }

  void transform(std::int64_t tile, std::int64_t to_tile, const Chunk& to) const {
    transform_tile<InputMatrix>(input_, grids_.input, tile, zeros_.data(), to.v, to_tile);
    transform_tile<Transposed<OutputMatrix>>(doutput_, grids_.output, tile, zeros_.data(), to.dm,
                                             to_tile);
  }

  /// du[f][outputs][C] = (add ? du : 0) + dM^T V over a chunk's first `tiles` tiles.
  void multiply(const Chunk& chunk, std::int64_t tiles, int f, Range outputs, float* sums,
                bool add) const {
    constexpr std::int64_t depth = 128;  // tiles whose panel of V stays in a first-level cache
    const Frequencies du(sums, O_, padded_C_);
    const float* v = chunk.v.data + f * chunk.v.stride;
    const float* dm = chunk.dm.data + f * chunk.dm.stride + outputs.begin;
    float* to = du.data + f * du.stride + outputs.begin * du.tile_stride;
    for (std::int64_t c = 0; c < padded_C_; c += panel) {
      std::int64_t t = 0;
      do {
        multiply_panel({dm + t * chunk.dm.tile_stride, 1, chunk.dm.tile_stride}, outputs.size(),
                       v + t * chunk.v.tile_stride + c, chunk.v.tile_stride,
                       std::min(depth, tiles - t), to + c, du.tile_stride, add || t > 0);
        t += depth;
      } while (t < tiles);
    }
  }

  /// dweight = G^T dU G, dU the sum of the parts.
  void restore(const float* sums, std::int64_t parts, float* dweight) const {
    const Frequencies du(const_cast<float*>(sums), O_, padded_C_);
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t o = 0; o < O_; ++o) {
      for (std::int64_t c = 0; c < C_; c += width) {
        const float* from = sums + o * du.tile_stride + c;
        winograd::transform<Transposed<WeightMatrix>>(
            [&](int i, int j) __attribute__((always_inline)) {
              const float* x = from + (i * tile_side + j) * du.stride;
              Vector sum = load(x);
              for (std::int64_t part = 1; part < parts; ++part) sum += load(x + part * du_size());
              return sum;
            },
            [&](int r, int s, const Vector& y) __attribute__((always_inline)) {
              store(dweight + ((o * taps + r) * taps + s) * C_ + c, y, C_ - c);
            });
      }
    }
  }

  const float* input_;
  const float* doutput_;
  std::int64_t C_, O_, padded_C_;
  Grids grids_;
  std::vector<float> zeros_;
};

}  // namespace

void conv2d_backward_weight(const float* input, const float* doutput, float* dweight,
                            const Conv2dGeometry& g) {
  const WeightGradient gradient(input, doutput, g);
  // Parts of the tiles: enough to keep many threads busy, as long as their sums take little memory.
  constexpr std::int64_t enough = 16, fewest = 4, elements = 6 << 20, fewest_tiles = 64;
  const std::int64_t most =
      std::min({elements / gradient.du_size(), gradient.tiles() / fewest_tiles, enough});
  const auto parts = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(most)));
  if (parts >= fewest) {
    gradient.by_tiles(parts, dweight);
  } else {
    gradient.by_frequencies(dweight);
  }
}

}  // namespace gradus::cpu::winograd
