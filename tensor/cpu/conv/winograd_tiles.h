// Tiles of images and of their frequencies in memory: what the passes of Winograd convolution
// share. Internal to the Winograd files of this folder.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tensor/cpu/conv/winograd.h"
#include "tensor/cpu/gemm/packing.h"

namespace gradus::cpu::winograd {

inline constexpr int taps = 3;

/// A scheme with the kernels of the level in use.
template <class T, class Word>
struct Algorithm {
  const simd::WinogradKernels<T, Word>& transforms;
  simd::MultiplyPanel<Word> multiply;
  int panel, rows;  // of products
  int frequencies;

  Algorithm(const simd::Kernels& kernels, simd::WinogradScheme scheme)
      : transforms(kernels.winograd<T, Word>(scheme)),
        multiply(kernels.multiply<Word>()),
        panel(kernels.panel),
        rows(kernels.rows),
        frequencies(transforms.frequency_side * transforms.frequency_side) {}
};

/// Sizes of arrays on the stack, for any level and scheme.
inline constexpr int most_panel = 32, most_tile_side = 9, most_per_word = 2;

/// The tiles of images [N, H, W, C], numbered image by image and row by row. Tile (row, column)
/// begins at pixel (step row - padding.height, step column - padding.width).
struct TileGrid {
  std::int64_t N, H, W, C;
  std::int64_t rows, columns;
  Size2 padding;
  std::int64_t step;

  std::int64_t count() const { return N * rows * columns; }
};

/// Where a tile begins: its image, and a pixel of it that may lie in the padding.
struct Place {
  std::int64_t n, h, w;
};

inline Place place_of(const TileGrid& grid, std::int64_t tile) {
  const std::int64_t row = tile / grid.columns;
  return {row / grid.rows, row % grid.rows * grid.step - grid.padding.height,
          tile % grid.columns * grid.step - grid.padding.width};
}

/// Grids of one convolution's inputs and outputs: the same tiles, seen from both sides.
struct Grids {
  static constexpr std::int64_t m = 4;  // outputs of a tile, a side
  TileGrid input, output;

  explicit Grids(const Conv2dGeometry& g)
      : input{g.N,
              g.H,
              g.W,
              g.C,
              divide_up(g.out_height, m),
              divide_up(g.out_width, m),
              g.padding,
              m * g.stride.height},
        output{g.N, g.out_height, g.out_width, g.O, input.rows, input.columns, 0, m} {}
  Grids(const TileGrid& in, const TileGrid& out) : input(in), output(out) {}
};

inline simd::WinogradScheme scheme_of(const Conv2dGeometry& g) {
  return g.stride == Size2(2) ? simd::WinogradScheme::strided : simd::WinogradScheme::plain;
}

/// Matrices [rows, words], one a frequency, in memory of 32-bit words.
template <class Word>
struct Frequencies {
  Word* data;
  std::int64_t stride, row_stride;  // between frequencies, between rows

  Frequencies(float* memory, std::int64_t rows, std::int64_t words)
      : data(reinterpret_cast<Word*>(memory)),
        stride(spread(rows * between(words))),
        row_stride(between(words)) {}

  /// Words for `count` frequencies.
  static std::int64_t size(int count, std::int64_t rows, std::int64_t words) {
    return count * spread(rows * between(words));
  }

  /// Those of the rows from `row` on.
  Frequencies from_row(std::int64_t row) const {
    Frequencies rest = *this;
    rest.data += row * row_stride;
    return rest;
  }

  Word* at(int frequency, std::int64_t row) const {
    return data + frequency * stride + row * row_stride;
  }

 private:
  /// Whole cache lines, so that vectors may be written at the end.
  static std::int64_t between(std::int64_t words) {
    return words <= most_panel ? round_up(words, 16) : spread(words);
  }
};

/// Pointers to the pixels of a tile of side x side, null outside of the images.
template <class T>
void find_pixels(const T* images, const TileGrid& grid, std::int64_t tile, int side,
                 const T** pixels) {
  const auto [n, h0, w0] = place_of(grid, tile);
  for (int i = 0; i < side; ++i) {
    for (int j = 0; j < side; ++j) {
      const std::int64_t h = h0 + i, w = w0 + j;
      const bool inside = h >= 0 && h < grid.H && w >= 0 && w < grid.W;
      *pixels++ = inside ? images + ((n * grid.H + h) * grid.W + w) * grid.C : nullptr;
    }
  }
}

}  // namespace gradus::cpu::winograd
