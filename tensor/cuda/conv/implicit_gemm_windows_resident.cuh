// A 3x3 convolution with stride 1 of 64 channels to 64 by windows (implicit_gemm_windows.cuh), in
// bfloat16, by blocks that stay: the weights of all taps lie in shared memory, 72 KiB, and a
// warpgroup goes from square to square. While the tensor cores work on one, its warps write the
// results of the one before, and the window of the next one is copied; all meet once a square.
//
// With so few channels shared memory would set the pace, were both factors read there: as many
// bytes are read as it gives. So the window comes by way of registers, where the three taps of a
// column of the kernel share it. A warp has two rows of the square; for a column and 16 channels it
// loads four rows of the window, of which tap (0, column) takes the first two, tap (1, column) the
// second and third, tap (2, column) the last two.
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
  static_assert(place_bytes % 1024 == 0 && windows_begin % 1024 == 0);
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

/// A warp's fragments of its window for the products of a step, which is a column of the kernel and
/// a slice of the channels: four rows of the window, two a load.
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

/// Starts sums += the products of a step, a group. `rows` are not changed before they are over.
__device__ __forceinline__ void start_step(const std::uint32_t (&rows)[2][4], int step,
                                           SharedAddress weights, Resident::Sums& sums) {
  begin_products();
#pragma unroll
  for (int kernel_row = 0; kernel_row < 3; ++kernel_row) {
    const int tap = kernel_row * 3 + step / slices;
    const MatrixDescriptor b(weights + static_cast<std::uint32_t>(tap * Resident::tap_bytes +
                                                                  step % slices * slice_bytes),
                             8 * row_bytes, 0);
    if (kernel_row == 1) {
      const std::uint32_t middle[4] = {rows[0][1], rows[1][0], rows[0][3], rows[1][2]};
      multiply_add<BFloat16>(sums, middle, b);
    } else {
      multiply_add<BFloat16>(sums, rows[kernel_row / 2], b);
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

/// Writes a square's results in as many steps as its products take, each warp its 16 rows, by way
/// of shared memory: whole pixels; nothing if there is no such square.
class ResultWriter {
 public:
  __device__ ResultWriter(const Problem& p, const float* bias, BFloat16* output)
      : p_(p),
        bias_(bias),
        output_(output),
        lane_(static_cast<int>(threadIdx.x) % warp),
        begin_(Resident::results_begin +
               static_cast<int>(threadIdx.x) / warp * Resident::results_bytes) {}

  __device__ __forceinline__ void write(const Resident::Sums& sums, int number, int step) {
    if (step == 0 || step == columns) __syncwarp();  // what follows reads what others wrote, or
    if (step < columns) {                            // overwrites what others read
      store_column(sums, step);
    } else {
      write_rows(number, step - columns);
    }
  }

  RunningMoments moments;  ///< of what was written

 private:
  static constexpr int columns = Resident::channels / 8;  // of sums: 8 channels each

  __device__ __forceinline__ void store_column(const Resident::Sums& sums, int j) const {
    const auto pairs = dynamic_shared<Vector<BFloat16, 2>>(Resident::shared_bytes / 4);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float first = sums[j][half * 2], second = sums[j][half * 2 + 1];
      if (bias_) {
        first += bias_[j * 8 + lane_ % 4 * 2];
        second += bias_[j * 8 + lane_ % 4 * 2 + 1];
      }
      pairs[begin_ / 4 + (lane_ / 4 + half * 8) * Resident::pitch + j * 4 + lane_ % 4] =
          to_pair<BFloat16>(first, second);
    }
  }

  /// A quarter of the warp's rows.
  __device__ __forceinline__ void write_rows(int number, int quarter) {
    const auto chunks = dynamic_shared<Vector<BFloat16, 8>>(Resident::shared_bytes / chunk_bytes);
    const bool exists = 0 <= number && number < p_.pixels;
    const Pixel square = pixel_of(p_, exists ? number : 0);
    const int row = lane_ / row_chunks + quarter * 4, part = lane_ % row_chunks;
    const int h =
        square.row * square_side + static_cast<int>(threadIdx.x) / warp % 4 * 2 + row / square_side;
    const int w = square.column * square_side + row % square_side;
    const std::int64_t pixel = (static_cast<std::int64_t>(square.n) * p_.H + h) * p_.W + w;
    const Vector<BFloat16, 8> values =
        chunks[begin_ / chunk_bytes + row * (Resident::pitch / 4) + part];
    if (exists) store_vector(output_ + pixel * Resident::channels + part * 8, values);
    if (exists) moments.add(values);
  }

  const Problem& p_;
  const float* bias_;
  BFloat16* output_;
  int lane_, begin_;
};

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
// null. The problem's rows are squares. partial [blocks, 64], or null, gets the moments of the
// output's channels.
inline __global__ void __launch_bounds__(Resident::threads, 1)
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
  const SharedAddress places =
      memory + static_cast<std::uint32_t>(R::windows_begin + group * 2 * R::place_bytes);
  const int step = static_cast<int>(gridDim.x) * R::groups;
  int number = static_cast<int>(blockIdx.x) * R::groups + group;
  copy_window(p, input, number, place, places);

  R::Sums sums[2];
  std::uint32_t rows[2][2][4];
  const WindowRows window(places);
  ResultWriter writer(p, bias, output);
  const auto meet = [] {
    wait_for_copies<0>();
    __syncthreads();
  };
  const auto multiply_square = [&](int parity) {  // and write the one before
    const std::uint32_t here = parity * R::place_bytes, next = R::place_bytes - here;
#pragma unroll
    for (auto& sum : sums[parity]) {
#pragma unroll
      for (float& value : sum) value = 0;
    }
#pragma unroll
    for (int i = 0; i < WindowRows::steps; ++i) {
      start_step(rows[i % 2], i, memory, sums[parity]);
      wait_for_products<1>();  // those of the step before, whose registers are filled next
      if (i == 0) copy_window(p, input, number + step, place, places + next);
      writer.write(sums[1 - parity], number - step, i);
      if (i + 1 < WindowRows::steps) {
        window.load(rows[(i + 1) % 2], here, i + 1);
      } else {
        meet();
        window.load(rows[0], next, 0);
      }
    }
    wait_for_products<0>();
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
  for (int i = 0; i < WindowRows::steps; ++i) {
    writer.write(sums[0], rounds % 2 == 1 ? number - step : -1, i);
  }
#pragma unroll
  for (int i = 0; i < WindowRows::steps; ++i) {
    writer.write(sums[1], rounds % 2 == 0 ? number - step : -1, i);
  }
  wait_for_copies<0>();
  if (partial == nullptr) return;
  merge_warps(writer.moments, partial + std::int64_t{blockIdx.x} * R::channels);
}

}  // namespace gradus::cuda::implicit_gemm::windows
