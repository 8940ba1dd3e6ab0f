// A 3x3 convolution with stride 1 of 64 channels to 64 by windows (implicit_gemm_windows.cuh), by
// blocks that stay: the weights of all taps lie in shared memory, 72 KiB of bfloat16, and a
// warpgroup goes from square to square. While the tensor cores work on one, its warps write the
// results of the one before, and the next part of a window is copied, 128 bytes of each pixel's
// channels: all 64 of bfloat16, half of float32's. All meet once a part.
//
// With so few channels shared memory would set the pace, were both factors read there: as many
// bytes are read as it gives. So the window comes by way of registers, where the three taps of a
// column of the kernel share it. A warp has two rows of the square; for a column and 32 bytes of
// channels it loads four rows of the window, of which tap (0, column) takes the first two, tap (1,
// column) the second and third, tap (2, column) the last two.
//
// A lane's sums are pairs of columns of the product, 8 apart. Weights are put in such an order that
// these are neighbouring channels, 16 bytes of results.
#pragma once

#include "tensor/cuda/conv/implicit_gemm_windows.cuh"
#include "tensor/cuda/norm/moments.h"
#include "tensor/cuda/warp.h"

namespace gradus::cuda::implicit_gemm::windows {

/// The kernel's sizes, and where things are in its shared memory, in bytes from its begin.
template <class E>
struct Resident {
  using Element = E;
  static constexpr int channels = 64, groups = 3;  // warpgroups
  static constexpr int threads = 128 * groups, warps = threads / warp;
  static constexpr int size = chunk_bytes / int{sizeof(E)};            // channels of a chunk
  static constexpr int parts = channels * int{sizeof(E)} / row_bytes;  // of a window
  static constexpr int part_channels = channels / parts;
  static constexpr int tap_bytes = channels * row_bytes;  // of a part
  /// A part's place begins at a multiple of 1024 bytes; each warpgroup has two.
  static constexpr int place_bytes = (window_bytes + 1023) / 1024 * 1024;
  static constexpr int windows_begin = parts * window_taps * tap_bytes;
  static constexpr int shared_bytes = windows_begin + 2 * groups * place_bytes;
  /// Moments of the warps' channels, at the end.
  static_assert(warps * channels * int{sizeof(Moments<float>)} <= shared_bytes);
  static_assert(place_bytes % 1024 == 0 && windows_begin % 1024 == 0 && shared_bytes <= 227 * 1024);
};

using ResidentSums = float[8][4];

/// The column of the product that makes an output's channel.
template <class E>
__device__ int column_of(int channel) {
  constexpr int size = Resident<E>::size;
  const int lane = channel % (4 * size) / size, pair = channel % size / 2;
  return (channel / (4 * size) * (size / 2) + pair) * 8 + lane * 2 + channel % 2;
}

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

/// Starts to copy a part of the window of a square to `to`, a group; zeros if there is no such
/// square.
template <class E>
__device__ __forceinline__ void copy_window(const Problem& p, const E* input, int number, int part,
                                            const GroupCopyPlace& place, SharedAddress to) {
  using R = Resident<E>;
  const bool exists = number < p.pixels;
  const Pixel square = pixel_of(p, exists ? number : 0);
  const int h = square.row * square_side - 1, w = square.column * square_side - 1;
#pragma unroll
  for (int i = 0; i * GroupCopyPlace::rows_at_once < window_pixels; ++i) {
    const int pixel = place.row + i * GroupCopyPlace::rows_at_once;
    if (pixel >= window_pixels) continue;
    const int y = h + pixel / window_side, x = w + pixel % window_side;
    const bool valid = exists && inside(y, p.H) && inside(x, p.W);
    const int at = ((square.n * p.H + y) * p.W + x) * R::channels + part * R::part_channels +
                   place.chunk * R::size;
    copy_async(to + place.offset + i * GroupCopyPlace::rows_at_once * row_bytes,
               input + (valid ? at : 0), valid);
  }
  commit_copies();
}

/// Starts to copy the weights [64, 3, 3, 64]: part by part, tap by tap.
template <class E>
__device__ __forceinline__ void copy_weights(const E* weight, const GroupCopyPlace& place,
                                             SharedAddress to) {
  using R = Resident<E>;
  constexpr int rows_at_once = R::groups * GroupCopyPlace::rows_at_once;
  const int first = place.row + static_cast<int>(threadIdx.x) / 128 * GroupCopyPlace::rows_at_once;
#pragma unroll 4
  for (int row = first; row < R::parts * window_taps * R::channels; row += rows_at_once) {
    const int channel = row % R::channels, tap = row / R::channels % window_taps;
    const int part = row / R::channels / window_taps, column = column_of<E>(channel);
    const int at = (row - channel + column) * row_bytes + (place.chunk ^ column % 8) * chunk_bytes;
    copy_async(to + static_cast<std::uint32_t>(at),
               weight + (channel * window_taps + tap) * R::channels + part * R::part_channels +
                   place.chunk * R::size,
               true);
  }
}

/// A warp's fragments of its window for the products of a step, which is a column of the kernel and
/// 32 bytes of the channels: four rows of the window, two a load.
class WindowRows {
 public:
  static constexpr int steps = 3 * slices;

  /// `window` is the warpgroup's first one.
  __device__ explicit WindowRows(SharedAddress window) {
    const int lane = static_cast<int>(threadIdx.x) % warp;
    const int first_row = static_cast<int>(threadIdx.x) / warp % 4 * 2;
    // Matrices 0 and 1 are 8 channels of two rows of the window, 2 and 3 the next 8 of these.
#pragma unroll
    for (int column = 0; column < 3; ++column) {
      const int pixel = (first_row + lane / 8 % 2) * window_side + column + lane % 8;
      places_[column] = window + static_cast<std::uint32_t>(pixel * row_bytes +
                                                            (lane / 16 ^ pixel % 8) * chunk_bytes);
    }
  }
  __device__ __forceinline__ void load(std::uint32_t (&rows)[2][4], std::uint32_t place,
                                       int step) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      // Two rows further on are 20 pixels, whose chunks lie where another bit has changed.
      SharedAddress from = places_[step / slices] + (place + i * 2 * window_side * row_bytes);
      from.value ^= static_cast<std::uint32_t>(step % slices * slice_bytes ^ i * 4 * chunk_bytes);
      load_matrices(rows[i], from);
    }
  }

 private:
  SharedAddress places_[3];
};

/// Starts sums += the products of a step, a group. `rows` are not changed before they are over;
/// `weights` are those of the part.
template <class E>
__device__ __forceinline__ void start_step(const std::uint32_t (&rows)[2][4], int step,
                                           SharedAddress weights, ResidentSums& sums) {
  begin_products();
#pragma unroll
  for (int kernel_row = 0; kernel_row < 3; ++kernel_row) {
    const int tap = kernel_row * 3 + step / slices;
    const MatrixDescriptor b(weights + static_cast<std::uint32_t>(tap * Resident<E>::tap_bytes +
                                                                  step % slices * slice_bytes),
                             8 * row_bytes, 0);
    if (kernel_row == 1) {
      const std::uint32_t middle[4] = {rows[0][1], rows[1][0], rows[0][3], rows[1][2]};
      multiply_add<E>(sums, middle, b);
    } else {
      multiply_add<E>(sums, rows[kernel_row / 2], b);
    }
  }
  commit_products();
}

/// Moments of the results that a thread has written, of its 16 channels: sums of them, and of their
/// squares, less a number that is near the first one.
class RunningMoments {
 public:
  /// Two results; `first` if they are the thread's first of these channels.
  __device__ __forceinline__ void add(int pair, float x, float y, bool first) {
    if (first) near_[pair] = std::bit_cast<std::uint32_t>(to_pair<BFloat16>(x, y));
    const float deviations[2] = {x - shift(pair, 0), y - shift(pair, 1)};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      sum_[pair][i] += deviations[i];
      squares_[pair][i] += deviations[i] * deviations[i];
    }
  }

  /// Those of a channel over `count` results each of the warp's lanes that have the same channels.
  __device__ Moments<float> of_warp(int pair, int i, float count) const {
    Moments<float> m{count, 0, 0};
    if (count > 0) {
      m.mean = shift(pair, i) + sum_[pair][i] / count;
      m.deviations = fmaxf(squares_[pair][i] - sum_[pair][i] * sum_[pair][i] / count, 0);
    }
    for (int distance = 4; distance < warp; distance *= 2) {
      const Moments<float> other{__shfl_xor_sync(all_lanes, m.count, distance),
                                 __shfl_xor_sync(all_lanes, m.mean, distance),
                                 __shfl_xor_sync(all_lanes, m.deviations, distance)};
      m = merge(m, other);
    }
    return m;
  }

 private:
  __device__ float shift(int pair, int i) const {
    return std::bit_cast<float>(i == 0 ? near_[pair] << 16 : near_[pair] & 0xFFFF0000u);
  }

  std::uint32_t near_[8] = {};  // two bfloat16 each
  float sum_[8][2] = {}, squares_[8][2] = {};
};

/// Writes a square's results in steps, in the first of those that the next one's products take;
/// nothing if there is no such square.
template <class E>
class ResultWriter {
  using R = Resident<E>;

 public:
  __device__ ResultWriter(const Problem& p, const float* bias, E* output)
      : p_(p), bias_(bias), output_(output), lane_(static_cast<int>(threadIdx.x) % warp) {}

  __device__ __forceinline__ void write(const ResidentSums& sums, int number, int step) {
    constexpr int pairs = R::size / 2, vectors = 8 / pairs;  // of a row; of a vector
    const bool exists = 0 <= number && number < p_.pixels;
    if (step >= 2 * vectors) return;
    const int vector = step % vectors, half = step / vectors;
    const int channel = (vector * 4 + lane_ % 4) * R::size;
    Vector<E, R::size> results;
#pragma unroll
    for (int i = 0; i < pairs; ++i) {
      const int pair = vector * pairs + i;
      float x = sums[pair][half * 2], y = sums[pair][half * 2 + 1];
      if (bias_) {
        x += bias_[channel + i * 2];
        y += bias_[channel + i * 2 + 1];
      }
      const Vector<E, 2> rounded = to_pair<E>(x, y);
      results[i * 2] = rounded[0];
      results[i * 2 + 1] = rounded[1];
      if (exists) {
        moments_.add(pair, static_cast<float>(rounded[0]), static_cast<float>(rounded[1]),
                     written_ == 0 && half == 0);
      }
    }
    const Pixel square = pixel_of(p_, exists ? number : 0);
    const int h = square.row * square_side + static_cast<int>(threadIdx.x) / warp % 4 * 2 + half;
    const int w = square.column * square_side + lane_ / 4;
    const std::int64_t pixel = (static_cast<std::int64_t>(square.n) * p_.H + h) * p_.W + w;
    if (exists) store_vector(output_ + pixel * R::channels + channel, results);
    if (exists && step == 2 * vectors - 1) ++written_;
  }

  /// The moments of what the block has written, to partial [channels].
  __device__ void store_moments(Moments<float>* partial) const {
    const int thread = static_cast<int>(threadIdx.x);
    const auto all = dynamic_shared<Moments<float>>(R::warps * R::channels);
    __syncthreads();
#pragma unroll
    for (int pair = 0; pair < 8; ++pair) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const Moments<float> own = moments_.of_warp(pair, i, static_cast<float>(2 * written_));
        const int channel =
            (pair / (R::size / 2) * 4 + lane_) * R::size + pair % (R::size / 2) * 2 + i;
        if (lane_ < 4) all[thread / warp * R::channels + channel] = own;
      }
    }
    __syncthreads();
    if (thread >= R::channels) return;
    Moments<float> total = all[thread];
    for (int other = 1; other < R::warps; ++other) {
      const Moments<float> next = all[other * R::channels + thread];
      total = merge(total, next);
    }
    partial[thread] = total;
  }

 private:
  const Problem& p_;
  const float* bias_;
  E* output_;
  int lane_, written_ = 0;  // squares
  RunningMoments moments_;
};

// output [N, H, W, 64] = input [N, H, W, 64] convolved with weight [64, 3, 3, 64], + bias [64] or
// null. The problem's rows are squares. partial [blocks, 64], or null, gets the moments of the
// output's channels.
template <class E>
__global__ void __launch_bounds__(Resident<E>::threads, 1)
    resident_kernel(const E* __restrict__ input, const E* __restrict__ weight,
                    const float* __restrict__ bias, E* __restrict__ output,
                    Moments<float>* __restrict__ partial, const Problem p) {
  using R = Resident<E>;
  const auto all_memory = dynamic_shared<Vector<std::uint32_t, 4>>(R::shared_bytes / chunk_bytes);
  const SharedAddress memory(&all_memory[0]);
  if (memory.value % 1024 != 0) __trap();
  const int group = static_cast<int>(threadIdx.x) / 128;
  const int step = static_cast<int>(gridDim.x) * R::groups;
  int number = static_cast<int>(blockIdx.x) * R::groups + group;
  const GroupCopyPlace place;
  const SharedAddress places =
      memory + static_cast<std::uint32_t>(R::windows_begin + group * 2 * R::place_bytes);
  copy_weights(weight, place, memory);
  copy_window(p, input, number, 0, place, places);

  ResidentSums sums[2];
  std::uint32_t rows[2][2][4];
  const WindowRows window(places);
  ResultWriter<E> writer(p, bias, output);
  // Multiplies a part of a square, whose sums are sums[parity], and writes the square before.
  const auto multiply_part = [&](int parity, int part) {
    const std::uint32_t here = (R::parts == 1 ? parity : part) * R::place_bytes;
    const std::uint32_t next = R::place_bytes - here;
    const SharedAddress weights =
        memory + static_cast<std::uint32_t>(part * window_taps * R::tap_bytes);
#pragma unroll
    for (int i = 0; i < WindowRows::steps; ++i) {
      start_step<E>(rows[i % 2], i, weights, sums[parity]);
      wait_for_products<1>();  // those of the step before, whose registers are filled next
      if (i == 0) {
        const bool last = part == R::parts - 1;
        copy_window(p, input, last ? number + step : number, last ? 0 : part + 1, place,
                    places + next);
      }
      if (part == 0) writer.write(sums[1 - parity], number - step, i);
      if (i + 1 < WindowRows::steps) {
        window.load(rows[(i + 1) % 2], here, i + 1);
      } else {
        wait_for_copies<0>();
        __syncthreads();
        window.load(rows[0], next, 0);
      }
    }
    wait_for_products<0>();
  };
  const auto multiply_square = [&](int parity) {
#pragma unroll
    for (auto& sum : sums[parity]) {
#pragma unroll
      for (float& value : sum) value = 0;
    }
#pragma unroll
    for (int part = 0; part < R::parts; ++part) multiply_part(parity, part);
    number += step;
  };
  wait_for_copies<0>();
  publish_copies();  // the weights
  __syncthreads();
  window.load(rows[0], 0, 0);
  const int rounds = (p.pixels + step - 1) / step;
#pragma unroll 1
  for (int round = 0; round < rounds; round += 2) {
    multiply_square(0);
    if (round + 1 < rounds) multiply_square(1);
  }
#pragma unroll
  for (int parity = 0; parity < 2; ++parity) {  // the last one's
    const int last = rounds % 2 == 1 - parity ? number - step : -1;
#pragma unroll
    for (int i = 0; i < WindowRows::steps; ++i) writer.write(sums[parity], last, i);
  }
  wait_for_copies<0>();
  if (partial != nullptr) writer.store_moments(partial + std::int64_t{blockIdx.x} * R::channels);
}

}  // namespace gradus::cuda::implicit_gemm::windows
