// Step 3: more sums a thread, and 16 bytes an access.
//
// In step 2 each multiply-add needs two reads of shared memory, which gives a warp 128 bytes a
// clock, while the multiprocessor could do 128 multiply-adds in it. Here a thread makes 8 x 8 sums
// in registers: for one k it reads 8 + 8 numbers, as 4 vectors, and does 64 multiply-adds. A block
// of 128 threads makes 128 pixels of 64 channels.
//
// In shared memory a row is one k, so that a thread's pixels are neighbours, and its channels, too.
// They are two groups of 4 each: were all 8 channels neighbours, the vectors that a warp reads at a
// time would lie 32 bytes apart and share banks (2-way conflicts); so they are side by side.
#include "bench/conv_ladder/ladder.h"

namespace gradus::conv_ladder {
namespace {

constexpr int m = 128, n = 64, step = 32;  // pixels and channels of a block, and k of a piece
constexpr int threads = 128, across = 8;   // across: threads that share the 8 pixels of each
constexpr int pitch = m + n;               // of a row of shared memory: pixels, then channels
constexpr int shared_bytes = step * pitch * int{sizeof(float)};

using Four = cuda::Vector<float, 4>;

__global__ void __launch_bounds__(threads)
    vectorised_kernel(const BFloat16* input, const BFloat16* weight, BFloat16* output, Problem p) {
  const auto words = cuda::dynamic_shared<float>(step * pitch);
  const auto fours = cuda::dynamic_shared<Four>(step * pitch / 4);  // the same memory
  const int thread = static_cast<int>(threadIdx.x);
  const int first_o = static_cast<int>(blockIdx.x) * n, first = static_cast<int>(blockIdx.y) * m;
  // It copies a pixel's 32 channels, and 16 of a row of weights.
  const bool exists = first + thread < p.pixels();
  const Pixel pixel = pixel_of(p, first + thread);
  const int o = thread % n, half = thread / n * (step / 2);
  const auto copy = [&](int k, int column, const BFloat16* from, bool valid) {
    const auto values = valid ? cuda::load_vector<8>(from) : cuda::Vector<BFloat16, 8>{};
    for (int i = 0; i < 8; ++i) words[(k + i) * pitch + column] = static_cast<float>(values[i]);
  };
  const int x = thread % across, y = thread / across;
  float sums[8][8] = {};
  for (int tap = 0; tap < taps; ++tap) {
    const int from = exists ? input_offset(p, pixel, tap) : -1;
    const BFloat16* const row = weight + ((first_o + o) * taps + tap) * p.C + half;
    for (int c = 0; c < p.C; c += step) {
      for (int k = 0; k < step; k += 8) copy(k, thread, input + from + c + k, from >= 0);
      for (int k = 0; k < step / 2; k += 8) copy(half + k, m + o, row + c + k, true);
      __syncthreads();
#pragma unroll 4
      for (int k = 0; k < step; ++k) {
        const int at = k * pitch / 4;
        const Four a[2] = {fours[at + y], fours[at + m / 8 + y]};
        const Four b[2] = {fours[at + m / 4 + x], fours[at + m / 4 + across + x]};
#pragma unroll
        for (int i = 0; i < 8; ++i) {
#pragma unroll
          for (int j = 0; j < 8; ++j) sums[i][j] += a[i / 4][i % 4] * b[j / 4][j % 4];
        }
      }
      __syncthreads();
    }
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int number = first + i / 4 * (m / 2) + y * 4 + i % 4;
    if (number >= p.pixels()) continue;
#pragma unroll
    for (int group = 0; group < 2; ++group) {
      cuda::Vector<BFloat16, 4> values;
      for (int j = 0; j < 4; ++j) values[j] = BFloat16(sums[i][group * 4 + j]);
      cuda::store_vector(output + number * p.O + first_o + group * (n / 2) + x * 4, values);
    }
  }
}

}  // namespace

void vectorised(const BFloat16* input, const BFloat16* weight, BFloat16* output, const Problem& p) {
  const dim3 grid(static_cast<unsigned>(p.O / n), static_cast<unsigned>((p.pixels() + m - 1) / m));
  cuda::launch("vectorised", vectorised_kernel, {grid, dim3(threads), shared_bytes},
               work_of(p, cuda::Unit::fp32), input, weight, output, p);
}

}  // namespace gradus::conv_ladder
