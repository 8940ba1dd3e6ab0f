// Tiles of images and of their frequencies in memory: what the passes of Winograd convolution
// share. Internal to cpu/winograd*.cpp.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

#include "tensor/cpu/range.h"
#include "tensor/cpu/winograd_kernels.h"
#include "tensor/geometry.h"
#include "tensor/tensor.h"

namespace gradus::cpu::winograd {

inline std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
inline std::int64_t round_up(std::int64_t a, std::int64_t b) { return divide_up(a, b) * b; }

/// A distance between rows of at least `elements` floats: an odd number of cache lines, since rows
/// at powers of two would compete for the same places in a cache.
inline std::int64_t spread(std::int64_t elements) {
  constexpr std::int64_t line = 16;
  return (divide_up(elements, line) | 1) * line;
}

inline Tensor scratch_floats(const Shape& shape) { return {shape, DType::float32, Device::cpu}; }

/// Floats for each thread of a parallel region.
class ThreadScratch {
 public:
  explicit ThreadScratch(std::int64_t elements)
      : elements_(spread(elements)),
        memory_(scratch_floats({omp_get_max_threads(), elements_})),
        data_(memory_.data<float>()) {}

  /// The calling thread's part.
  float* get() const { return data_ + omp_get_thread_num() * elements_; }

 private:
  std::int64_t elements_;
  Tensor memory_;
  float* data_;
};

/// The tiles of images [N, H, W, C], numbered image by image and row by row. Tile (row, column)
/// begins at pixel (4 row - padding.height, 4 column - padding.width).
struct TileGrid {
  std::int64_t N, H, W, C;
  std::int64_t rows, columns;
  Size2 padding;

  std::int64_t count() const { return N * rows * columns; }
};

/// Where a tile begins: its image, and a pixel of it that may lie in the padding.
struct Place {
  std::int64_t n, h, w;
};

inline Place place_of(const TileGrid& grid, std::int64_t tile) {
  const std::int64_t row = tile / grid.columns;
  return {row / grid.rows, row % grid.rows * output_side - grid.padding.height,
          tile % grid.columns * output_side - grid.padding.width};
}

/// Grids of one convolution's inputs and outputs: the same tiles, seen from both sides.
struct Grids {
  TileGrid input, output;

  explicit Grids(const Conv2dGeometry& g)
      : input{g.N,
              g.H,
              g.W,
              g.C,
              divide_up(g.out_height, output_side),
              divide_up(g.out_width, output_side),
              g.padding},
        output{g.N, g.out_height, g.out_width, g.O, input.rows, input.columns, 0} {}
};

/// Matrices [tiles, channels], one a frequency, in memory.
struct Frequencies {
  float* data;
  std::int64_t stride, tile_stride;  // between frequencies, between tiles

  Frequencies(float* memory, std::int64_t tiles, std::int64_t channels)
      : data(memory), stride(spread(tiles * between(channels))), tile_stride(between(channels)) {}

  static std::int64_t size(std::int64_t tiles, std::int64_t channels) {
    return frequencies * spread(tiles * between(channels));
  }

 private:
  static std::int64_t between(std::int64_t channels) {
    return channels <= panel ? panel : spread(channels);
  }
};

/// transformed[frequency][to_tile][C] = L X L^T of a tile X of images, zero outside of them. L is
/// B^T for inputs (tiles of 6x6) and A for gradients of outputs (4x4). `zeros` [C].
template <class L>
void transform_tile(const float* images, const TileGrid& grid, std::int64_t tile,
                    const float* zeros, const Frequencies& transformed, std::int64_t to_tile) {
  const auto [n, h0, w0] = place_of(grid, tile);
  const float* pixels[L::columns][L::columns];
  for (int i = 0; i < L::columns; ++i) {
    for (int j = 0; j < L::columns; ++j) {
      const std::int64_t h = h0 + i, w = w0 + j;
      const bool inside = h >= 0 && h < grid.H && w >= 0 && w < grid.W;
      pixels[i][j] = inside ? images + ((n * grid.H + h) * grid.W + w) * grid.C : zeros;
    }
  }
  float* to = transformed.data + to_tile * transformed.tile_stride;
  const std::int64_t stride = transformed.stride;
  const auto transform_channels = [&](std::int64_t c, auto lanes) __attribute__((always_inline)) {
    transform<L>(
        [&](int i, int j) __attribute__((always_inline)) { return load(pixels[i][j] + c, lanes); },
        [&](int i, int j, const Vector& y)
            __attribute__((always_inline)) { store(to + (i * tile_side + j) * stride + c, y); });
  };
  std::int64_t c = 0;
  for (; c + width <= grid.C; c += width) {
    transform_channels(c, std::integral_constant<std::int64_t, width>{});
  }
  if (c < grid.C) transform_channels(c, grid.C - c);
}

/// Outputs [first_channel, + panel) of a tile = A^T X A + bias, for X[frequency][from_tile][panel];
/// what lies outside of the images is dropped. bias [C] or null.
inline void restore_tile(const Frequencies& transformed, std::int64_t from_tile, const float* bias,
                         float* images, const TileGrid& grid, std::int64_t tile,
                         std::int64_t first_channel) {
  const auto [n, h0, w0] = place_of(grid, tile);
  float* corner = images + ((n * grid.H + h0) * grid.W + w0) * grid.C;
  const std::int64_t rows = grid.H - h0, columns = grid.W - w0;
  const std::int64_t last = std::min<std::int64_t>(first_channel + panel, grid.C);
  for (std::int64_t c = first_channel; c < last; c += width) {
    const std::int64_t lanes = last - c;
    const float* from =
        transformed.data + from_tile * transformed.tile_stride + (c - first_channel);
    const Vector shift = bias ? load(bias + c, lanes) : Vector{};
    transform<OutputMatrix>(
        [&](int i, int j) __attribute__((always_inline)) {
          return load(from + (i * tile_side + j) * transformed.stride);
        },
        [&](int i, int j, const Vector& y) __attribute__((always_inline)) {
          if (i < rows && j < columns) {
            store(corner + (i * grid.W + j) * grid.C + c, y + shift, lanes);
          }
        });
  }
}

}  // namespace gradus::cpu::winograd
