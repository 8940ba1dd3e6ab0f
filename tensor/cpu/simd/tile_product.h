// The products of bfloat16 by tiles (tile.h), of a level that has them.
#pragma once

#include <algorithm>
#include <array>

#include "tensor/cpu/simd/rows.h"
#include "tensor/cpu/simd/tile.h"

namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL {

#if defined(__AMX_BF16__) || defined(GRADUS_SIMD_PLAIN_TILES)
inline constexpr bool by_tiles = true;
#else
inline constexpr bool by_tiles = false;
#endif

/// Whether products take pairs of bfloat16.
#if defined(__AVX512BF16__) || defined(GRADUS_SIMD_PLAIN_PAIRS)
inline constexpr bool by_pairs = true;
#else
inline constexpr bool by_pairs = by_tiles;
#endif

/// Two by two tiles of sums in tiles 0 to 3, left factors in 4 and 5, right ones in 6 and 7.
constexpr TileSizes sizes_of_product(int upper_rows, int lower_rows, int words) {
  TileSizes sizes;
  for (const int tile : {0, 1}) sizes.set(tile, upper_rows, tile_side);
  for (const int tile : {2, 3}) sizes.set(tile, lower_rows, tile_side);
  sizes.set(4, upper_rows, words);
  sizes.set(5, lower_rows, words);
  for (const int tile : {6, 7}) sizes.set(tile, words, tile_side);
  return sizes;
}

/// How many of at most two tiles of rows the upper tile has.
constexpr int upper_rows(int rows) { return rows > tile_side ? (rows + 1) / 2 : rows; }

/// Of products of whole tiles along the depth, by rows.
constexpr std::array<TileSizes, 2 * tile_side + 1> sizes_by_rows = [] {
  std::array<TileSizes, 2 * tile_side + 1> sizes;
  for (int rows = 0; rows <= 2 * tile_side; ++rows) {
    sizes[static_cast<std::size_t>(rows)] =
        sizes_of_product(upper_rows(rows), rows - upper_rows(rows), tile_side);
  }
  return sizes;
}();

/// MultiplyPanel for `upper` rows and, unless `lower` is false, those below them, and words `k` of
/// the runs, a tile's width at a time.
template <bool lower>
inline void multiply_in_tiles(const LeftMatrix<BFloat16Pair>& a, std::int64_t upper,
                              const BFloat16Pair* b, std::int64_t b_stride, const Depth& depth,
                              std::int64_t k_begin, std::int64_t k_end, float* c,
                              std::int64_t c_stride, bool add) {
  float* const c_below = c + upper * c_stride;
  if (add) {
    load_tile<0>(c, c_stride);
    load_tile<1>(c + tile_side, c_stride);
    if constexpr (lower) load_tile<2>(c_below, c_stride);
    if constexpr (lower) load_tile<3>(c_below + tile_side, c_stride);
  } else {
    clear_tile<0>();
    clear_tile<1>();
    if constexpr (lower) clear_tile<2>();
    if constexpr (lower) clear_tile<3>();
  }
  float zero = 0;
  for (std::int64_t run = 0; run < depth.runs; ++run) {
    const BFloat16Pair* x = a.data + depth.left_begin(run) + k_begin;
    const BFloat16Pair* y = b + depth.right_begin(run) + k_begin * b_stride;
    for (std::int64_t k = k_begin; k < k_end; k += tile_side) {
      load_tile<6>(y, b_stride);
      load_tile<4>(x, a.row_stride);
      multiply_tiles<0, 4, 6>();
      load_tile<7>(y + tile_side, b_stride);
      multiply_tiles<1, 4, 7>();
      if constexpr (lower) {
        load_tile<5>(x + upper * a.row_stride, a.row_stride);
        multiply_tiles<2, 5, 6>();
        multiply_tiles<3, 5, 7>();
      }
      keep_awake(zero);
      x += tile_side;
      y += tile_side * b_stride;
    }
  }
  store_tile<0>(c, c_stride);
  store_tile<1>(c + tile_side, c_stride);
  if constexpr (lower) store_tile<2>(c_below, c_stride);
  if constexpr (lower) store_tile<3>(c_below + tile_side, c_stride);
}

/// MultiplyPanel for at most two tiles of rows, whose words follow each other.
inline void multiply_rows_in_tiles(const LeftMatrix<BFloat16Pair>& a, std::int64_t rows,
                                   const BFloat16Pair* b, std::int64_t b_stride, const Depth& depth,
                                   float* c, std::int64_t c_stride, bool add) {
  static_assert(!by_tiles || panel == 2 * tile_side);
  const int upper = upper_rows(static_cast<int>(rows)), lower = static_cast<int>(rows) - upper;
  const auto multiply = [&](const TileSizes& sizes, std::int64_t begin, std::int64_t end,
                            bool add_now) {
    set_sizes(sizes);
    const auto function = lower > 0 ? &multiply_in_tiles<true> : &multiply_in_tiles<false>;
    function(a, upper, b, b_stride, depth, begin, end, c, c_stride, add_now);
  };
  const std::int64_t whole = depth.words / tile_side * tile_side, rest = depth.words - whole;
  if (whole > 0 || rest == 0)
    multiply(sizes_by_rows[static_cast<std::size_t>(rows)], 0, whole, add);
  if (rest > 0) {
    multiply(sizes_of_product(upper, lower, static_cast<int>(rest)), whole, depth.words,
             add || whole > 0);
  }
}

/// The same for rows whose words do not follow each other: they are transposed piece by piece.
inline void transpose_and_multiply_in_tiles(const LeftMatrix<BFloat16Pair>& a, std::int64_t rows,
                                            const BFloat16Pair* b, std::int64_t b_stride,
                                            const Depth& depth, float* c, std::int64_t c_stride,
                                            bool add) {
  constexpr std::int64_t most = 64;  // words
  BFloat16Pair piece[2 * tile_side * most];
  multiply_rows_in_tiles({piece, most, 1}, rows, b, b_stride, {0}, c, c_stride, add);
  for (std::int64_t run = 0; run < depth.runs; ++run) {
    for (std::int64_t k = 0; k < depth.words; k += most) {
      const std::int64_t words = std::min(most, depth.words - k);
      transpose(a.data + depth.left_begin(run) + k * a.step, a.step, words, rows, piece, most);
      multiply_rows_in_tiles({piece, most, 1}, rows, b + depth.right_begin(run) + k * b_stride,
                             b_stride, {words}, c, c_stride, true);
    }
  }
}

inline void multiply_panel_in_tiles(const LeftMatrix<BFloat16Pair>& a, std::int64_t rows,
                                    const BFloat16Pair* b, std::int64_t b_stride,
                                    const Depth& depth, float* c, std::int64_t c_stride, bool add) {
  const auto multiply = a.step == 1 ? &multiply_rows_in_tiles : &transpose_and_multiply_in_tiles;
  for_each_part<2 * tile_side>(rows, [&](std::int64_t begin, std::int64_t end) {
    multiply({a.data + begin * a.row_stride, a.row_stride, a.step}, end - begin, b, b_stride, depth,
             c + begin * c_stride, c_stride, add);
  });
}

}  // namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL
