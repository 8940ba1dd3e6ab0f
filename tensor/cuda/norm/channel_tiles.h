// Matrices [rows, C] of channels, as batch norm reads them. A block takes a tile of neighbouring
// channels; a thread takes `width` neighbouring channels (16 bytes where C and the addresses allow)
// and of the rows one in so many as all blocks of a tile, its chunks, have threads. So all blocks
// walk through the matrix together, from its first rows to its last, or back: a kernel begins with
// what the one before it had last, which the second-level cache still holds. Sums over rows go in
// three fixed steps, so that they do not vary: each thread its rows, each block its threads, then a
// second kernel all blocks.
#pragma once

#include <algorithm>
#include <cmath>

#include "tensor/cuda/runtime/launch.h"
#include "tensor/cuda/shared_array.h"

namespace gradus::cuda {

inline constexpr int channel_block = 128;    // threads: beside a block of a convolution
inline constexpr int finish_threads = 1024;  // of a finishing kernel, which has few blocks

/// Kernels write ascending, what they read of the kernel before is best read the other way.
enum class Walk { ascending, descending };

/// What a thread works on: channels [channel, channel + width) of rows begin, begin + step, ...,
/// counted from the last one where it walks descending. The first of these elements is at `at`, the
/// others follow `stride` apart.
struct Share {
  std::int64_t channel, begin, step, at, stride;
};

template <int width, Walk walk>
__device__ Share share_of_thread(std::int64_t rows, std::int64_t C) {
  const std::int64_t channel = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * width;
  const std::int64_t begin = std::int64_t{blockIdx.y} * blockDim.y + threadIdx.y;
  const std::int64_t step = std::int64_t{gridDim.y} * blockDim.y;
  if (walk == Walk::ascending) return {channel, begin, step, begin * C + channel, step * C};
  return {channel, begin, step, (rows - 1 - begin) * C + channel, -step * C};
}

/// p[0, width) by loads of up to 16 bytes.
template <int width, class A>
__device__ void load_channels(const A* p, A (&to)[width]) {
  constexpr int part = width < vector_size<A> ? width : vector_size<A>;
  for (int i = 0; i < width; i += part) {
    const Vector<A, part> values = load_vector<part>(p + i);
    for (int j = 0; j < part; ++j) to[i + j] = values[j];
  }
}

/// How far behind an element that of `u` rows of the thread further on is; behind the last row it
/// is that row's again, to be loaded and not used. (A load under a condition would keep each
/// bfloat16 in a register of its own.)
__device__ inline std::int64_t further(int u, std::int64_t row, std::int64_t rows,
                                       std::int64_t step, std::int64_t stride) {
  return row + u * step < rows ? u * stride : 0;
}

template <class A>
__device__ A inverse_deviation(A variance, double eps) {
  return 1 / std::sqrt(variance + static_cast<A>(eps));
}

/// Merges the states of all threads with one threadIdx.x into the one with threadIdx.y = 0.
/// blockDim.y is a power of two.
template <int threads, int width, class State>
__device__ void merge_in_block(State (&state)[width]) {
  __shared__ SharedArray<State, threads * width> shared;
  const int thread = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
  const int y = static_cast<int>(threadIdx.y);
  for (int half = static_cast<int>(blockDim.y) / 2; half > 0; half /= 2) {
    if (y >= half && y < 2 * half) {
      for (int i = 0; i < width; ++i) shared[i * threads + thread] = state[i];
    }
    __syncthreads();
    if (y >= half) continue;
    for (int i = 0; i < width; ++i) {
      const int partner = thread + half * static_cast<int>(blockDim.x);
      const State other = shared[i * threads + partner];
      state[i] = merge(state[i], other);
    }
  }
}

/// The block's states, one a channel, to partial [chunks, C]; State has merge(State, State).
template <int width, class State>
__device__ void store_partial(State (&state)[width], std::int64_t channel, std::int64_t C,
                              State* partial) {
  merge_in_block<channel_block>(state);
  if (threadIdx.y != 0 || channel >= C) return;
  for (int i = 0; i < width; ++i) partial[blockIdx.y * C + channel + i] = state[i];
}

/// The state of all chunks of a channel, valid where threadIdx.y = 0.
template <class State>
__device__ State merge_chunks(const State* partial, std::int64_t channel, std::int64_t chunks,
                              std::int64_t C) {
  State state[1] = {};
  if (channel < C) {
#pragma unroll 4
    for (std::int64_t chunk = threadIdx.y; chunk < chunks; chunk += blockDim.y) {
      state[0] = merge(state[0], partial[chunk * C + channel]);
    }
  }
  merge_in_block<finish_threads>(state);
  return state[0];
}

// --- launches --------------------------------------------------------------------------------

/// How blocks share [rows, C]: up to 32 vectors of channels side by side, and as many chunks
/// (grid.y) as fill the device `blocks_each` times, but no fewer than 8 rows a thread.
inline LaunchShape tile(std::int64_t rows, std::int64_t C, int width, int blocks_each) {
  const std::int64_t vectors = divide_up(C, width);
  int across = 1;
  while (across < 32 && across < vectors) across *= 2;
  const int down = channel_block / across;
  const std::int64_t tiles = divide_up(vectors, across);
  const std::int64_t wanted =
      std::max<std::int64_t>(1, std::int64_t{blocks_each} * multiprocessor_count() / tiles);
  const std::int64_t chunks = std::clamp<std::int64_t>(divide_up(rows, 8 * down), 1, wanted);
  return {dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(chunks)),
          dim3(static_cast<unsigned>(across), static_cast<unsigned>(down))};
}

/// Blocks of 8 channels, 32 bytes of float, whose chunks 128 threads each share; of 2 channels
/// where there are many chunks, so that more multiprocessors read them.
inline LaunchShape finish_shape(std::int64_t C, std::int64_t chunks) {
  const unsigned channels = chunks > 512 ? 2 : 8;
  return {dim3(static_cast<unsigned>(divide_up(C, std::int64_t{channels}))),
          dim3(channels, finish_threads / channels)};
}

/// `arrays` arrays [rows, C] of T and `vectors` of [C]; `cached` bytes of partial results.
template <class T>
Work work_of(double arrays, double vectors, std::int64_t rows, std::int64_t C, double flops_each,
             double cached = 0) {
  const double channels = static_cast<double>(C), n = static_cast<double>(rows) * channels;
  return {.bytes = arrays * n * sizeof(T) + vectors * channels * sizeof(Compute<T>),
          .cached_bytes = cached,
          .flops = flops_each * n,
          .unit = sizeof(T) == 8 ? Unit::fp64 : Unit::fp32};
}

template <class State>
double partial_bytes(std::int64_t chunks, std::int64_t C) {
  return static_cast<double>(chunks) * static_cast<double>(C) * sizeof(State);
}

}  // namespace gradus::cuda
