// The tile of steps 4 to 6: what a block copies, and how its warps multiply it.
//
// A block makes 128 pixels of 64 channels; its 4 warps 64 x 32 of these sums each. It walks along k
// in steps of 64 channels of a tap. A piece of both factors is a stage of shared memory: 128 rows
// of pixels and 64 of weights, of 128 bytes, 8 chunks of 16. A row goes once through all 32 banks,
// and load_matrices reads the same chunk of 8 neighbouring rows at a time, so chunk c of row r lies
// at place c ^ (r % 8), the swizzle: any 8 neighbouring rows have it in different banks.
#pragma once

#include "bench/conv_ladder/ladder.h"
#include "tensor/cuda/tensor_core.h"

namespace gradus::conv_ladder {

constexpr int m = 128, n = 64, step = 64, threads = 128;
constexpr int chunk = 8, row_chunks = step / chunk;  // elements of a chunk, chunks of a row
constexpr int stage_chunks = (m + n) * row_chunks, chunk_bytes = 16;
constexpr int copied_rows = threads / row_chunks;  // that the threads copy at once

/// Of a warp: 16 x 8 each, as multiply_add has them.
using Sums = float[4][4][4];

/// The place of a chunk in a stage.
__device__ inline int place_of(int row, int c) { return row * row_chunks + (c ^ row % 8); }

/// The pixels whose rows this thread copies chunks of; those that do not exist lie far outside.
struct CopiedPixels {
  Pixel pixels[m / copied_rows];
  __device__ CopiedPixels(const Problem& p, int first) {
    for (int i = 0; i < m / copied_rows; ++i) {
      const int number = first + static_cast<int>(threadIdx.x) / row_chunks + i * copied_rows;
      pixels[i] = number < p.pixels() ? pixel_of(p, number) : Pixel{0, -9, 0};
    }
  }
};

/// Calls copy(place, from, valid) for each chunk that this thread copies of step number `index`
/// along k: 16 bytes, or zeros where not valid. Taps are the inner index, so that what neighbouring
/// taps share is read again soon.
template <class Copy>
__device__ __forceinline__ void copy_step(const Problem& p, const BFloat16* input,
                                          const BFloat16* weight, const CopiedPixels& copied,
                                          int index, const Copy& copy) {
  const int tap = index % taps, c = static_cast<int>(threadIdx.x) % row_chunks;
  const int first_row = static_cast<int>(threadIdx.x) / row_chunks;
  const int channel = index / taps * step + c * chunk;
#pragma unroll
  for (int i = 0; i < m / copied_rows; ++i) {
    const int from = input_offset(p, copied.pixels[i], tap);
    copy(place_of(first_row + i * copied_rows, c), input + (from < 0 ? 0 : from + channel),
         from >= 0);
  }
#pragma unroll
  for (int i = 0; i < n / copied_rows; ++i) {
    const int row = first_row + i * copied_rows, o = static_cast<int>(blockIdx.x) * n + row;
    copy(place_of(m + row, c), weight + (o * taps + tap) * p.C + channel, true);
  }
}

/// The warp's sums += the product of a stage. For 16 of its 64 k at a time, ldmatrix brings
/// fragments of 16 rows to registers, and the tensor cores multiply each of the one factor with
/// each of the other: 6 loads for 16 products.
__device__ __forceinline__ void multiply_stage(cuda::SharedAddress stage, Sums& sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int row = warp % 2 * 64, column = m + warp / 2 * 32;
  const auto load = [&](std::uint32_t(&fragment)[4], int r, int c) {
    cuda::load_matrices(fragment, stage + static_cast<std::uint32_t>(place_of(r, c) * chunk_bytes));
  };
#pragma unroll
  for (int slice = 0; slice < step / 16; ++slice) {
    std::uint32_t a[4][4], b[2][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) load(a[i], row + i * 16 + lane % 16, slice * 2 + lane / 16);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      load(b[j], column + j * 16 + lane / 16 * 8 + lane % 8, slice * 2 + lane / 8 % 2);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        cuda::multiply_add<BFloat16>(sums[i][j], a[i], b[j / 2][j % 2 * 2],
                                     b[j / 2][j % 2 * 2 + 1]);
      }
    }
  }
}

/// Writes the sums, two neighbours at a time: output[pixel, o] = result(o, sum), rounded.
template <class Result>
__device__ __forceinline__ void store(const Problem& p, const Sums& sums, BFloat16* output,
                                      const Result& result) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int first = static_cast<int>(blockIdx.y) * m + warp % 2 * 64 + lane / 4;
  const int first_o = static_cast<int>(blockIdx.x) * n + warp / 2 * 32 + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < 4 * 2; ++i) {  // rows lane / 4 and lane / 4 + 8 of each 16
    const int number = first + i * 8;
    if (number >= p.pixels()) continue;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int o = first_o + j * 8;
      const float* const pair = &sums[i / 2][j][i % 2 * 2];
      cuda::store_vector(output + number * p.O + o,
                         cuda::to_pair<BFloat16>(result(o, pair[0]), result(o + 1, pair[1])));
    }
  }
}

/// A block for each tile.
inline cuda::LaunchShape shape_of(const Problem& p, int stages) {
  return {dim3(static_cast<unsigned>(p.O / n), static_cast<unsigned>((p.pixels() + m - 1) / m)),
          dim3(threads), static_cast<std::size_t>(stages * stage_chunks * chunk_bytes)};
}

}  // namespace gradus::conv_ladder
