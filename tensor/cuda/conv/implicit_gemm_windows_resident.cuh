// A 3x3 convolution with stride 1 of 64 channels to 64 by windows (implicit_gemm_windows.cuh), by
// blocks that stay: the weights of all taps lie in shared memory, 72 KiB of bfloat16, and a
// warpgroup goes from square to square. While the tensor cores work on one, its warps write the
// results of the one before, and the next part of a window is copied, 128 bytes of each pixel's
// channels: all 64 of bfloat16, half of float32's.
//
// A lane's sums are of pairs of the product's columns, a pair in each 8. Weights are put in such an
// order that these are neighbouring channels, 16 bytes of results. (Chunks, slices and groups of
// copies: implicit_gemm.cuh.)
#pragma once

#include "tensor/cuda/conv/implicit_gemm_windows.cuh"
#include "tensor/cuda/norm/moments.h"
#include "tensor/cuda/warp.h"

namespace gradus::cuda::implicit_gemm::windows {

/// The kernel's sizes, and where things are in its shared memory, in bytes from its beginning.
template <class E>
struct Resident {
  static constexpr int channels = 64, groups = 3;  // warpgroups
  static constexpr int threads = 128 * groups, warps = threads / warp;
  static constexpr int size = chunk_bytes / int{sizeof(E)};            // channels of a chunk
  static constexpr int parts = channels * int{sizeof(E)} / row_bytes;  // of a window
  static constexpr int part_channels = channels / parts;
  static constexpr int pairs = size / 2, vectors = channels / 4 / size;  // of a lane's results
  static constexpr int tap_bytes = channels * row_bytes;                 // of a part
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

/// Copies windows of squares, a warpgroup its own.
template <class E>
class ResidentCopies {
  using R = Resident<E>;

 public:
  __device__ ResidentCopies(const Problem& p, const E* input, SharedAddress places) : p_(p) {
    const GroupCopyPlace place;
    to_ = places + place.offset;
    input_ = input + place.chunk * R::size;
#pragma unroll
    for (int i = 0; i < copies; ++i) {
      const int pixel = place.row + i * GroupCopyPlace::rows_at_once;
      const int row = pixel / window_side, column = pixel % window_side;
      offset_[i] = ((row - 1) * p.W + column - 1) * R::channels;
      const std::uint32_t sides = (row == 0 ? 1u : 0) | (row == window_side - 1 ? 2u : 0) |
                                  (column == 0 ? 4u : 0) | (column == window_side - 1 ? 8u : 0);
      sides_ |= (pixel < window_pixels ? sides : nowhere) << (4 * i);
    }
  }

  /// Starts to copy a part of a square's window to a place, a group; zeros if there is no such
  /// square.
  __device__ __forceinline__ void start(int number, int part, std::uint32_t place) const {
    const bool exists = number < p_.pixels;
    const Pixel square = pixel_of(p_, exists ? number : 0);
    const E* const from =
        input_ +
        ((square.n * p_.H + square.row * square_side) * p_.W + square.column * square_side) *
            R::channels +
        part * R::part_channels;
    const std::uint32_t outside =
        (square.row == 0 ? 0x1111111u : 0) | (square.row == p_.height - 1 ? 0x2222222u : 0) |
        (square.column == 0 ? 0x4444444u : 0) | (square.column == p_.width - 1 ? 0x8888888u : 0);
    const std::uint32_t zero = exists ? sides_ & outside : ~0u;
#pragma unroll
    for (int i = 0; i < copies; ++i) {
      if (i == copies - 1 && (sides_ >> (4 * i) & 15) == nowhere) continue;
      const bool valid = (zero >> (4 * i) & 15) == 0;
      copy_async(to_ + (place + i * GroupCopyPlace::rows_at_once * row_bytes),
                 valid ? from + offset_[i] : input_, valid);
    }
    commit_copies();
  }

 private:
  static constexpr int copies =
      (window_pixels + GroupCopyPlace::rows_at_once - 1) / GroupCopyPlace::rows_at_once;
  static constexpr std::uint32_t nowhere = 15;  // no pixel lies on all sides
  static_assert(copies <= 7);

  const Problem& p_;
  const E* input_;
  SharedAddress to_;
  int offset_[copies];       // from the square's first pixel
  std::uint32_t sides_ = 0;  // of the window on which a pixel lies, four bits a copy
};

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

/// Starts sums += the products of a part of a window with all taps, a group.
template <class E>
__device__ __forceinline__ void start_part(MatrixDescriptor window, MatrixDescriptor weights,
                                           ResidentSums& sums) {
  begin_products();
#pragma unroll 1
  for (int row = 0; row < 3; ++row) {
#pragma unroll
    for (int column = 0; column < 3; ++column) {
#pragma unroll
      for (int slice = 0; slice < slices; ++slice) {
        const std::uint32_t further = static_cast<std::uint32_t>(slice) * slice_bytes;
        multiply_add<E, false>(sums, window + (column * row_bytes + further),
                               weights + (column * Resident<E>::tap_bytes + further));
      }
    }
    window = window + window_side * row_bytes;
    weights = weights + 3 * Resident<E>::tap_bytes;
  }
  commit_products();
}

/// The warpgroups' turns at the tensor cores. A warp that starts products waits until they have
/// begun, so that it can do nothing else meanwhile; were all to start theirs together, nobody would
/// multiply while they write.
template <int groups>
class Turns {
 public:
  __device__ explicit Turns(int group) : group_(group) {
    if (group == groups - 1) pass_barrier(turn_of(0), 256);
  }
  /// Until it is this warpgroup's, whose threads have all come.
  __device__ __forceinline__ void wait() const { wait_at_barrier(turn_of(group_), 256); }
  /// It is the next one's; of the last turn of all, nobody's.
  __device__ __forceinline__ void pass(bool last) const {
    const bool wraps = group_ == groups - 1;
    if (last && wraps) return;
    pass_barrier(turn_of(wraps ? 0 : group_ + 1), 256);
  }

 private:
  /// Of 128 threads that wait for it and 128 that pass it on.
  __device__ static int turn_of(int group) { return 1 + group; }

  int group_;
};

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

/// Writes squares' results, 16 bytes at a time, and takes their moments.
template <class E>
class ResultWriter {
  using R = Resident<E>;

 public:
  __device__ ResultWriter(const Problem& p, E* output)
      : p_(p), output_(output), lane_(static_cast<int>(threadIdx.x) % warp) {}

  /// Nothing, if there is no such square.
  __device__ __forceinline__ void write(const ResidentSums& sums, int number) {
    const bool exists = 0 <= number && number < p_.pixels;
    const Pixel square = pixel_of(p_, exists ? number : 0);
    const int h = square.row * square_side + static_cast<int>(threadIdx.x) / warp % 4 * 2;
    const int w = square.column * square_side + lane_ / 4;
    const std::int64_t pixel = (static_cast<std::int64_t>(square.n) * p_.H + h) * p_.W + w;
    E* const to = output_ + pixel * R::channels + lane_ % 4 * R::size;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int vector = 0; vector < R::vectors; ++vector) {
        const Vector<E, R::size> results = round_vector(sums, vector, half);
        if (!exists) continue;
        take_moments(results, vector, written_ == 0 && half == 0);
        store_vector(to + half * p_.W * R::channels + vector * 4 * R::size, results);
      }
    }
    written_ += exists ? 1 : 0;
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
        const int channel = (pair / R::pairs * 4 + lane_) * R::size + pair % R::pairs * 2 + i;
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
  /// Neighbouring channels of a pixel in the first or second half of the warp's.
  __device__ __forceinline__ Vector<E, R::size> round_vector(const ResidentSums& sums, int vector,
                                                             int half) const {
    Vector<E, R::size> results;
#pragma unroll
    for (int i = 0; i < R::pairs; ++i) {
      const auto& sum = sums[vector * R::pairs + i];
      const Vector<E, 2> pair = to_pair<E>(sum[half * 2], sum[half * 2 + 1]);
      results[i * 2] = pair[0];
      results[i * 2 + 1] = pair[1];
    }
    return results;
  }
  __device__ __forceinline__ void take_moments(const Vector<E, R::size>& results, int vector,
                                               bool first) {
#pragma unroll
    for (int i = 0; i < R::pairs; ++i) {
      moments_.add(vector * R::pairs + i, static_cast<float>(results[i * 2]),
                   static_cast<float>(results[i * 2 + 1]), first);
    }
  }

  const Problem& p_;
  E* output_;
  int lane_, written_ = 0;  // squares
  RunningMoments moments_;
};

// output [N, H, W, 64] = input [N, H, W, 64] convolved with weight [64, 3, 3, 64]. The problem's
// rows are squares. partial [blocks, 64], or null, gets the moments of the output's channels.
template <class E>
__global__ void __launch_bounds__(Resident<E>::threads, 1)
    resident_kernel(const E* __restrict__ input, const E* __restrict__ weight,
                    E* __restrict__ output, Moments<float>* __restrict__ partial, const Problem p) {
  using R = Resident<E>;
  const auto all_memory = dynamic_shared<Vector<std::uint32_t, 4>>(R::shared_bytes / chunk_bytes);
  const SharedAddress memory(&all_memory[0]);
  if (memory.value % 1024 != 0) __trap();
  const int group = warpgroup_index();
  const int step = static_cast<int>(gridDim.x) * R::groups;
  int number = static_cast<int>(blockIdx.x) * R::groups + group;
  const SharedAddress places =
      memory + static_cast<std::uint32_t>(R::windows_begin + group * 2 * R::place_bytes);
  copy_weights(weight, GroupCopyPlace(), memory);
  const ResidentCopies<E> copies(p, input, places);
  copies.start(number, 0, 0);

  ResidentSums sums[2];
  ResultWriter<E> writer(p, output);
  const MatrixDescriptor windows(places, window_side * row_bytes, 0);
  const MatrixDescriptor weights(memory, 8 * row_bytes, 0);
  const int rounds = (p.pixels + step - 1) / step;
  const Turns<R::groups> turns(group);
  // Multiplies a square, whose sums are sums[parity], and writes the square before.
  const auto multiply_square = [&](int parity, bool last_round) {
#pragma unroll
    for (auto& sum : sums[parity]) {
#pragma unroll
      for (float& value : sum) value = 0;
    }
#pragma unroll
    for (int part = 0; part < R::parts; ++part) {
      const std::uint32_t here = (R::parts == 1 ? parity : part) * R::place_bytes;
      const bool last = part == R::parts - 1;
      wait_for_copies<0>();
      publish_copies();
      turns.wait();
      start_part<E>(windows + here, weights + part * window_taps * R::tap_bytes, sums[parity]);
      turns.pass(last && last_round);
      copies.start(last ? number + step : number, last ? 0 : part + 1, R::place_bytes - here);
      if (part == 0) writer.write(sums[1 - parity], number - step);
      wait_for_products<0>();
    }
    number += step;
  };
  wait_for_copies<0>();
  publish_copies();
  __syncthreads();  // the weights are there
#pragma unroll 1
  for (int round = 0; round < rounds; round += 2) {
    multiply_square(0, round + 1 == rounds);
    if (round + 1 < rounds) multiply_square(1, round + 2 == rounds);
  }
  writer.write(sums[0], rounds % 2 == 1 ? number - step : -1);
  writer.write(sums[1], rounds % 2 == 0 ? number - step : -1);
  wait_for_copies<0>();
  if (partial != nullptr) writer.store_moments(partial + std::int64_t{blockIdx.x} * R::channels);
}

}  // namespace gradus::cuda::implicit_gemm::windows
