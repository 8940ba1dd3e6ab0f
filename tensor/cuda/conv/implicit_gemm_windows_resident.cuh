// A 3x3 convolution with stride 1 of 64 channels to 64 by windows (implicit_gemm_windows.cuh), in
// bfloat16, by blocks that stay: the weights of all taps lie in shared memory, 72 KiB, and a
// warpgroup goes from square to square, all nine taps of one without a barrier between. While the
// tensor cores work on a square, its warps write the results of the one before, and the window of
// the next one is copied.
//
//   window       | copy 0 | copy 1     | copy 2     | copy 3     |
//   products              | square 0   | square 1   | square 2   | ...
//   results                            | write 0    | write 1    |
#pragma once

#include "tensor/cuda/conv/implicit_gemm_windows.cuh"
#include "tensor/cuda/norm/moments.h"
#include "tensor/cuda/warp.h"

namespace gradus::cuda::implicit_gemm::windows {

/// The kernel's sizes, and where things are in its shared memory, in bytes from its begin.
struct Resident {
  static constexpr int channels = 64, groups = 3;  // warpgroups
  static constexpr int threads = 128 * groups, warps = threads / warp;
  static constexpr int tap_bytes = channels * row_bytes;
  /// A window's place begins at a multiple of 1024 bytes; each warpgroup has two.
  static constexpr int place_bytes = (window_bytes + 1023) / 1024 * 1024;
  static constexpr int windows_begin = window_taps * tap_bytes;
  /// 16 rows of results for each warp, longer than a row needs: see row_pairs.
  static constexpr int pitch = channels / 2 + 4;  // pairs
  static constexpr int results_begin = windows_begin + 2 * groups * place_bytes;
  static constexpr int results_bytes = 16 * pitch * 4;  // of a warp
  static constexpr int shared_bytes = results_begin + warps * results_bytes;
  /// Moments of the warps' channels, at the end.
  static_assert(warps * channels * int{sizeof(Moments<float>)} <= results_begin);
  using Sums = float[channels / 8][4];
};

/// Copies of 16 bytes by a warpgroup's threads: chunk `chunk` of each 16th row from `row` on.
struct GroupCopyPlace {
  int chunk, row;
  std::uint32_t offset;
  __device__ GroupCopyPlace()
      : chunk(static_cast<int>(threadIdx.x) % row_chunks),
        row(static_cast<int>(threadIdx.x) % 128 / row_chunks),
        offset(static_cast<std::uint32_t>(row * row_bytes + (chunk ^ row % 8) * chunk_bytes)) {}
  static constexpr int rows_at_once = 128 / row_chunks;
};

/// Starts to copy the window of a square to `to`, a group; zeros if there is no such square.
__device__ __forceinline__ void copy_window(const Problem& p, const BFloat16* input, int number,
                                            const GroupCopyPlace& place, SharedAddress to) {
  const bool exists = number < p.pixels;
  const Pixel square = pixel_of(p, exists ? number : 0);
  const int h = square.row * square_side - 1, w = square.column * square_side - 1;
#pragma unroll
  for (int i = 0; i * GroupCopyPlace::rows_at_once < window_pixels; ++i) {
    const int pixel = place.row + i * GroupCopyPlace::rows_at_once;
    if (pixel >= window_pixels) continue;
    const int y = h + pixel / window_side, x = w + pixel % window_side;
    const bool valid = exists && inside(y, p.H) && inside(x, p.W);
    const int at = ((square.n * p.H + y) * p.W + x) * Resident::channels + place.chunk * 8;
    copy_async(to + place.offset + i * GroupCopyPlace::rows_at_once * row_bytes,
               input + (valid ? at : 0), valid);
  }
  commit_copies();
}

/// Starts sums = the products of a window with all taps, a group.
__device__ __forceinline__ void start_square(SharedAddress window, SharedAddress weights,
                                             Resident::Sums& sums) {
#pragma unroll
  for (auto& sum : sums) {
#pragma unroll
    for (float& value : sum) value = 0;
  }
  begin_products();
#pragma unroll
  for (int tap = 0; tap < window_taps; ++tap) {
    const std::uint32_t shift = (tap / 3 * window_side + tap % 3) * row_bytes;
    const MatrixDescriptor a(window + shift, window_side * row_bytes, 0);
    const MatrixDescriptor b(weights + static_cast<std::uint32_t>(tap * Resident::tap_bytes),
                             8 * row_bytes, 0);
#pragma unroll
    for (int slice = 0; slice < slices; ++slice) {
      const std::uint32_t further = static_cast<std::uint32_t>(slice) * slice_bytes;
      multiply_add<BFloat16, false>(sums, a + further, b + further);
    }
  }
  commit_products();
}

/// Moments of the results that a thread has written, of 8 channels: sums of them and of their
/// squares, less the first one.
class RunningMoments {
 public:
  static constexpr int channels = row_bytes / row_chunks / int{sizeof(BFloat16)};

  __device__ __forceinline__ void add(const Vector<BFloat16, channels>& values) {
#pragma unroll
    for (int i = 0; i < channels; ++i) {
      const auto value = static_cast<float>(values[i]);
      if (count_ == 0) first_[i] = value;
      const float deviation = value - first_[i];
      sum_[i] += deviation;
      squares_[i] += deviation * deviation;
    }
    ++count_;
  }

  /// Those of channel i of the warp's lanes that have the same, in each of them.
  __device__ Moments<float> of_warp(int i) const {
    Moments<float> m{count_, 0, 0};
    if (count_ > 0) {
      m.mean = first_[i] + sum_[i] / count_;
      m.deviations = fmaxf(squares_[i] - sum_[i] * sum_[i] / count_, 0);
    }
    for (int distance = row_chunks; distance < warp; distance *= 2) {
      const Moments<float> other{__shfl_xor_sync(all_lanes, m.count, distance),
                                 __shfl_xor_sync(all_lanes, m.mean, distance),
                                 __shfl_xor_sync(all_lanes, m.deviations, distance)};
      m = merge(m, other);
    }
    return m;
  }

 private:
  float count_ = 0;
  float first_[channels] = {}, sum_[channels] = {}, squares_[channels] = {};
};

/// Writes a square's results, each warp its 16 rows, by way of shared memory: whole pixels; nothing
/// if there is no such square.
template <bool with_moments>
__device__ __forceinline__ void write_square(const Problem& p, const Resident::Sums& sums,
                                             const float* bias, BFloat16* output, int number,
                                             RunningMoments& moments) {
  using R = Resident;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % warp;
  const int begin = R::results_begin + thread / warp * R::results_bytes;
  const auto pairs = dynamic_shared<Vector<BFloat16, 2>>(R::shared_bytes / 4);
  const auto chunks = dynamic_shared<Vector<BFloat16, 8>>(R::shared_bytes / chunk_bytes);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int j = 0; j < R::channels / 8; ++j) {
      float first = sums[j][half * 2], second = sums[j][half * 2 + 1];
      if (bias) {
        first += bias[j * 8 + lane % 4 * 2];
        second += bias[j * 8 + lane % 4 * 2 + 1];
      }
      pairs[begin / 4 + (lane / 4 + half * 8) * R::pitch + j * 4 + lane % 4] =
          to_pair<BFloat16>(first, second);
    }
  }
  __syncwarp();
  const bool exists = 0 <= number && number < p.pixels;
  const Pixel square = pixel_of(p, exists ? number : 0);
  const int h = square.row * square_side + thread / warp % 4 * 2, w = square.column * square_side;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = lane / row_chunks + i * 4, part = lane % row_chunks;
    const std::int64_t pixel =
        (static_cast<std::int64_t>(square.n) * p.H + h + row / square_side) * p.W + w +
        row % square_side;
    const Vector<BFloat16, 8> values = chunks[begin / chunk_bytes + row * (R::pitch / 4) + part];
    if (exists) store_vector(output + pixel * R::channels + part * 8, values);
    if (with_moments && exists) moments.add(values);
  }
  __syncwarp();  // they are written before the next square's come there
}

/// The moments of the block's results, to partial [channels].
__device__ inline void merge_warps(const RunningMoments& moments, Moments<float>* partial) {
  constexpr int channels = Resident::channels;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % warp;
  const auto all = dynamic_shared<Moments<float>>(Resident::warps * channels);
  __syncthreads();
#pragma unroll
  for (int i = 0; i < RunningMoments::channels; ++i) {
    const Moments<float> own = moments.of_warp(i);
    if (lane < row_chunks) all[thread / warp * channels + lane * 8 + i] = own;
  }
  __syncthreads();
  if (thread >= channels) return;
  Moments<float> total = all[thread];
  for (int other = 1; other < Resident::warps; ++other) {
    const Moments<float> next = all[other * channels + thread];
    total = merge(total, next);
  }
  partial[thread] = total;
}

// output [N, H, W, 64] = input [N, H, W, 64] convolved with weight [64, 3, 3, 64], + bias [64] or
// null. The problem's rows are squares. partial [blocks, 64] gets the moments of the output's
// channels, with_moments.
template <bool with_moments>
__global__ void __launch_bounds__(Resident::threads, 1)
    resident_kernel(const BFloat16* __restrict__ input, const BFloat16* __restrict__ weight,
                    const float* __restrict__ bias, BFloat16* __restrict__ output,
                    Moments<float>* __restrict__ partial, const Problem p) {
  using R = Resident;
  const auto all_memory = dynamic_shared<Vector<std::uint32_t, 4>>(R::shared_bytes / chunk_bytes);
  const SharedAddress memory(&all_memory[0]);
  if (memory.value % 1024 != 0) __trap();
  const int group = static_cast<int>(threadIdx.x) / 128;
  const GroupCopyPlace place;
  for (int row = place.row + group * GroupCopyPlace::rows_at_once; row < window_taps * R::channels;
       row += R::groups * GroupCopyPlace::rows_at_once) {
    const int tap = row / R::channels, output_channel = row % R::channels;
    copy_async(memory + static_cast<std::uint32_t>(row * row_bytes) +
                   (place.chunk ^ row % 8) * chunk_bytes,
               weight + (output_channel * window_taps + tap) * R::channels + place.chunk * 8, true);
  }
  const SharedAddress window =
      memory + static_cast<std::uint32_t>(R::windows_begin + group * 2 * R::place_bytes);
  const int step = static_cast<int>(gridDim.x) * R::groups;
  int number = static_cast<int>(blockIdx.x) * R::groups + group;
  copy_window(p, input, number, place, window);

  R::Sums sums[2];
  RunningMoments moments;
  const int rounds = (p.pixels + step - 1) / step;
  const auto start = [&](int round) {
    wait_for_copies<0>();
    publish_copies();
    __syncthreads();
    const std::uint32_t here = round % 2 * R::place_bytes;
    start_square(window + here, memory, sums[round % 2]);
    copy_window(p, input, number + step, place, window + (R::place_bytes - here));
  };
  const auto finish = [&](int round) {
    write_square<with_moments>(p, sums[(round + 1) % 2], bias, output, number - step, moments);
    wait_for_products<0>();
    number += step;
  };
#pragma unroll 1
  for (int round = 0; round < rounds; round += 2) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (round + i >= rounds) break;
      start(i);
      finish(i);
    }
  }
  write_square<with_moments>(p, sums[0], bias, output, rounds % 2 == 1 ? number - step : -1,
                             moments);
  write_square<with_moments>(p, sums[1], bias, output, rounds % 2 == 0 ? number - step : -1,
                             moments);
  wait_for_copies<0>();
  if constexpr (with_moments) {
    merge_warps(moments, partial + std::int64_t{blockIdx.x} * R::channels);
  }
}

}  // namespace gradus::cuda::implicit_gemm::windows
