// Step 2: tiles in shared memory, so that what is read once is used 32 times.
//
// A block makes 32 pixels of 32 channels, a thread one of these sums. It walks along k in steps of
// 32: all threads together copy a piece of both factors to shared memory, one element each, side by
// side; then each takes its row and its column of them.
//
// Shared memory has 32 banks, of which each gives one word of 4 bytes at a time. A warp's threads
// read 32 different rows of the weights: rows of 32 words would all begin in the same bank, and the
// reads would go one by one (a 32-way bank conflict). Rows of 33 words begin in 32 different banks.
// The warp's threads have the same pixel, and a word that all read is read once.
#include "bench/conv_ladder/ladder.h"

namespace gradus::conv_ladder {
namespace {

constexpr int tile = 32, pitch = tile + 1;

__global__ void __launch_bounds__(tile* tile)
    tiled_kernel(const BFloat16* input, const BFloat16* weight, BFloat16* output, Problem p) {
  __shared__ cuda::SharedArray<float, tile * tile> patches;   // [pixel, k]
  __shared__ cuda::SharedArray<float, tile * pitch> weights;  // [channel, k]
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const int first_o = static_cast<int>(blockIdx.x) * tile;
  const int number = static_cast<int>(blockIdx.y) * tile + y;
  const bool exists = number < p.pixels();  // the last block may have fewer pixels
  const Pixel pixel = pixel_of(p, number);
  float sum = 0;
  for (int tap = 0; tap < taps; ++tap) {
    const int from = exists ? input_offset(p, pixel, tap) : -1;
    const BFloat16* const row = weight + ((first_o + y) * taps + tap) * p.C;
    for (int c = 0; c < p.C; c += tile) {
      patches[y * tile + x] = from < 0 ? 0.0f : read(input + from + c + x);
      weights[y * pitch + x] = read(row + c + x);
      __syncthreads();  // all is there
      for (int k = 0; k < tile; ++k) {
        const float a = patches[y * tile + k], b = weights[x * pitch + k];
        sum += a * b;
      }
      __syncthreads();  // all was read
    }
  }
  if (exists) output[number * p.O + first_o + x] = BFloat16(sum);
}

}  // namespace

void tiled(const BFloat16* input, const BFloat16* weight, BFloat16* output, const Problem& p) {
  const auto blocks = [](int n) { return static_cast<unsigned>((n + tile - 1) / tile); };
  cuda::launch("tiled", tiled_kernel, {dim3(blocks(p.O), blocks(p.pixels())), dim3(tile, tile)},
               work_of(p, cuda::Unit::fp32), input, weight, output, p);
}

}  // namespace gradus::conv_ladder
