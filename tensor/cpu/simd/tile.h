// Tiles: eight small matrices in the processor, of at most 16 rows of 16 words, and their products
// (Intel's AMX). Where the level that is compiled has none, plain C++ with the same results stands
// in, for tests on any machine.
#pragma once

#include "tensor/cpu/simd/vector.h"

namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL {

inline constexpr int tile_side = 16;

/// The sizes of tiles, as the processor takes them.
struct alignas(64) TileSizes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t bytes[16] = {};  ///< of a row
  std::uint8_t rows[16] = {};

  constexpr void set(int tile, int tile_rows, int words) {
    rows[tile] = static_cast<std::uint8_t>(tile_rows);
    bytes[tile] = static_cast<std::uint16_t>(tile_rows == 0 ? 0 : words * 4);
  }
};

#if defined(__AMX_BF16__)

/// Sets the sizes of all tiles. That takes longer than to see that they are the same as before.
[[gnu::always_inline]] inline void set_sizes(const TileSizes& wanted) {
  TileSizes now;
  asm volatile("sttilecfg %0" : "=m"(now));
  if (_mm512_cmpneq_epi32_mask(_mm512_load_si512(&now), _mm512_load_si512(&wanted)) != 0) {
    asm volatile("ldtilecfg %0" : : "m"(wanted));
  }
}

template <int tile>
[[gnu::always_inline]] inline void clear_tile() {
  asm volatile("tilezero %%tmm%c0" : : "i"(tile));
}

/// Rows lie `stride` words apart, here and below.
template <int tile>
[[gnu::always_inline]] inline void load_tile(const void* from, std::int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2"
               :
               : "r"(from), "r"(stride * 4), "i"(tile)
               : "memory");
}

template <int tile>
[[gnu::always_inline]] inline void store_tile(float* to, std::int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride * 4), "i"(tile) : "memory");
}

/// sum [m, n] of floats += left [m, k] right [k, n] of pairs.
template <int sum, int left, int right>
[[gnu::always_inline]] inline void multiply_tiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(left), "i"(right));
}

/// Adds 0 to 0. After some 2,000 cycles in which only tiles are multiplied the vector unit sleeps,
/// and takes 900 cycles to wake when the sums are stored (Sapphire Rapids and its like).
[[gnu::always_inline]] inline void keep_awake(float& zero) {
  asm volatile("vaddss %0, %0, %0" : "+x"(zero));
}

#else

struct Tiles {
  TileSizes sizes;
  std::uint32_t words[8][tile_side][tile_side];
};
inline thread_local Tiles tiles;

inline void set_sizes(const TileSizes& wanted) { tiles.sizes = wanted; }

template <int tile>
void clear_tile() {
  std::memset(tiles.words[tile], 0, sizeof(tiles.words[tile]));
}

template <int tile>
void load_tile(const void* from, std::int64_t stride) {
  for (int i = 0; i < tiles.sizes.rows[tile]; ++i) {
    std::memcpy(tiles.words[tile][i], static_cast<const float*>(from) + i * stride,
                tiles.sizes.bytes[tile]);
  }
}

template <int tile>
void store_tile(float* to, std::int64_t stride) {
  for (int i = 0; i < tiles.sizes.rows[tile]; ++i) {
    std::memcpy(to + i * stride, tiles.words[tile][i], tiles.sizes.bytes[tile]);
  }
}

/// The first elements of all pairs are summed for themselves, and the second ones.
template <int sum, int left, int right>
void multiply_tiles() {
  const auto as_float = [](std::uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof(x));
    return x;
  };
  const int depth = tiles.sizes.bytes[left] / 4, columns = tiles.sizes.bytes[right] / 4;
  for (int i = 0; i < tiles.sizes.rows[left]; ++i) {
    for (int j = 0; j < columns; ++j) {
      float first = 0, second = 0;
      for (int k = 0; k < depth; ++k) {
        const std::uint32_t a = tiles.words[left][i][k], b = tiles.words[right][k][j];
        first += as_float(a << 16) * as_float(b << 16);
        second += as_float(a & 0xFFFF0000u) * as_float(b & 0xFFFF0000u);
      }
      const float result = as_float(tiles.words[sum][i][j]) + (first + second);
      std::memcpy(&tiles.words[sum][i][j], &result, sizeof(result));
    }
  }
}

inline void keep_awake(float&) {}

#endif

}  // namespace gradus::cpu::simd::GRADUS_SIMD_LEVEL
