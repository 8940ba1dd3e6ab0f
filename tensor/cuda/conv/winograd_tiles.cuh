// The tiles that cover an image, and how many of them are in work at once. Internal to winograd.cu.
#pragma once

#include <algorithm>
#include <cstdint>

#include <gradus/tensor/size2.h>
#include "tensor/backend/arithmetic.h"
#include "tensor/backend/winograd_matrices.h"
#include "tensor/cuda/runtime/launch.h"

namespace gradus::cuda::winograd {

inline constexpr int output_side = gradus::winograd::Filtering::output_side;

/// A run of tiles, numbered image by image and row by row, of images [?, H, W, C] whose first one
/// holds the first tile. Tile (row, column) begins at pixel (4 row - padding, 4 column - padding).
struct Tiles {
  std::int64_t H, W, C;
  unsigned rows, columns;  // of tiles in an image
  unsigned first, count;   // the run: its first tile within the first image, and its length
  int padding_height, padding_width;
};

/// Where a tile begins: its image's number, and pixel (h, w), which may lie in the padding.
struct Place {
  std::int64_t n, h, w;
};

__device__ inline Place place_of(const Tiles& tiles, unsigned tile) {
  const unsigned number = tiles.first + tile, image = tiles.rows * tiles.columns;
  const unsigned inside = number % image;
  return {number / image, std::int64_t{inside / tiles.columns} * output_side - tiles.padding_height,
          std::int64_t{inside % tiles.columns} * output_side - tiles.padding_width};
}

/// Images [?, H, W, C], and how far before their edges the first tiles begin.
struct Images {
  std::int64_t H, W, C;
  Size2 padding = 0;
};

/// The tiles that cover all outputs of a convolution, and the runs of them that are in work at
/// once: those whose transformed tiles fit in half of the second-level cache.
class Chunks {
 public:
  /// Tiles cover N images of height x width outputs; each takes `bytes` of scratch. At least
  /// `fewest_bytes` are in work at once.
  Chunks(std::int64_t N, std::int64_t height, std::int64_t width, std::int64_t bytes,
         std::int64_t fewest_bytes = 0)
      : rows_(divide_up(height, output_side)),
        columns_(divide_up(width, output_side)),
        tiles_(N * rows_ * columns_) {
    const auto half_cache = static_cast<std::int64_t>(l2_bytes() / 2);
    const std::int64_t most = std::max<std::int64_t>(std::max(half_cache, fewest_bytes) / bytes, 1);
    size_ = divide_up(tiles_, divide_up(tiles_, most));  // evened out
  }

  std::int64_t size() const { return size_; }

  /// Calls function(first tile, tiles) for each chunk.
  template <class Function>
  void for_each(const Function& function) const {
    for (std::int64_t first = 0; first < tiles_; first += size_) {
      function(first, std::min(size_, tiles_ - first));
    }
  }

  /// The run [first, first + count).
  Tiles run(const Images& images, std::int64_t first, std::int64_t count) const {
    return {.H = images.H,
            .W = images.W,
            .C = images.C,
            .rows = static_cast<unsigned>(rows_),
            .columns = static_cast<unsigned>(columns_),
            .first = static_cast<unsigned>(first % (rows_ * columns_)),
            .count = static_cast<unsigned>(count),
            .padding_height = static_cast<int>(images.padding.height),
            .padding_width = static_cast<int>(images.padding.width)};
  }
  /// Elements of the images before the one that tile `first` lies in.
  std::int64_t offset(const Images& images, std::int64_t first) const {
    return first / (rows_ * columns_) * images.H * images.W * images.C;
  }

 private:
  std::int64_t rows_, columns_, tiles_, size_;
};

}  // namespace gradus::cuda::winograd
