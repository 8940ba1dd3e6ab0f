// What becomes of a block's sums (implicit_gemm.cuh): a bias is added, they are
// written row by row, and the moments of its columns are taken on the way.
#pragma once

#include "tensor/cuda/conv/implicit_gemm.cuh"
#include "tensor/cuda/norm/moments.h"

namespace gradus::cuda::implicit_gemm {

/// Pairs of elements from one row of results to the next in shared memory: longer than a row needs
/// by 4 pairs, so that those of a warp that are written together lie in different banks.
template <class T>
constexpr int row_pairs = T::n / 2 + 4;

/// The block's results, row by row, in shared memory.
template <class T>
__device__ auto rows_of_block() {
  using Pair = Vector<typename T::Element, 2>;
  static_assert(T::m * row_pairs<T> * sizeof(Pair) <= T::shared_bytes);
  return dynamic_shared<Pair>(T::m * row_pairs<T>);
}

/// Writes row r of the block's sums, rounded to bfloat16 if that is the output's type, to output +
/// offset(r), unless that is negative. They go by way of shared memory, where they are left, as a
/// warp's sums are pieces of 8 columns.
template <class T, class Offset>
__device__ __forceinline__ void store_rows(const Sums<T>& sums, typename T::Element* output,
                                           const Offset& offset) {
  using E = typename T::Element;
  constexpr int parts = T::n / T::chunk_size, pitch = row_pairs<T> * 2 / T::chunk_size;  // chunks
  const WarpPlace<T> place;
  const auto pairs = rows_of_block<T>();
  const auto row_parts = dynamic_shared<Vector<std::uint32_t, 4>>(T::m * pitch);
#pragma unroll
  for (int i = 0; i < T::fragments_m; ++i) {
#pragma unroll
    for (int j = 0; j < 2 * T::fragments_n; ++j) {
      const int row = place.row + i * 16 + place.lane / 4;
      const int pair = row * row_pairs<T> + (place.column + j * 8) / 2 + place.lane % 4;
      pairs[pair] = to_pair<E>(sums[i][j][0], sums[i][j][1]);
      pairs[pair + 8 * row_pairs<T>] = to_pair<E>(sums[i][j][2], sums[i][j][3]);
    }
  }
  __syncthreads();
#pragma unroll 4
  for (int i = 0; i < T::m * parts / T::threads; ++i) {
    const int item = static_cast<int>(threadIdx.x) + i * T::threads;
    const int row = item / parts, part = item % parts;
    const std::int64_t at = offset(row);
    if (at < 0) continue;
    const Vector<std::uint32_t, 4> values = row_parts[row * pitch + part];
    store_vector(reinterpret_cast<std::uint32_t*>(output + at + part * T::chunk_size), values);
  }
}

/// (Sums that began with the bias would keep the tensor cores waiting: warpgroups' products must be
/// all that writes to their registers.)
template <class T>
__device__ __forceinline__ void add_bias(Sums<T>& sums, const float* bias, int first_column) {
  const WarpPlace<T> place;
#pragma unroll
  for (int j = 0; j < 2 * T::fragments_n; ++j) {
    const int column = first_column + place.column + j * 8 + place.lane % 4 * 2;
    const float b0 = bias[column], b1 = bias[column + 1];
#pragma unroll
    for (int i = 0; i < T::fragments_m; ++i) {
      sums[i][j][0] += b0;
      sums[i][j][1] += b1;
      sums[i][j][2] += b0;
      sums[i][j][3] += b1;
    }
  }
}

/// The moments of each of the block's columns over the first `rows` rows that store_rows has left,
/// to partial [T::n]. A thread takes a pair of columns of a range of rows: their mean, then the
/// deviations from it. The ranges are merged in order.
template <class T>
__device__ void store_moments(int rows, Moments<float>* partial) {
  constexpr int pairs = T::n / 2, ranges = T::threads / pairs, range_rows = T::m / ranges;
  const int pair = static_cast<int>(threadIdx.x) % pairs;
  const int range = static_cast<int>(threadIdx.x) / pairs;
  const int begin = range * range_rows, end = min(begin + range_rows, rows);
  const auto count = static_cast<float>(end > begin ? end - begin : 0);
  const auto values = rows_of_block<T>();
  Moments<float> moments[2] = {{count, 0, 0}, {count, 0, 0}};
#pragma unroll 8
  for (int row = begin; row < end; ++row) {
    const Vector<typename T::Element, 2> value = values[row * row_pairs<T> + pair];
    for (int i = 0; i < 2; ++i) moments[i].mean += static_cast<float>(value[i]);
  }
  for (auto& m : moments) m.mean *= count > 0 ? 1 / count : 0;
#pragma unroll 8
  for (int row = begin; row < end; ++row) {
    const Vector<typename T::Element, 2> value = values[row * row_pairs<T> + pair];
    for (int i = 0; i < 2; ++i) {
      const float deviation = static_cast<float>(value[i]) - moments[i].mean;
      moments[i].deviations += deviation * deviation;
    }
  }
  __syncthreads();  // the rows are not needed any more
  const auto all = dynamic_shared<Moments<float>>(ranges * T::n);
  for (int i = 0; i < 2; ++i) all[range * T::n + pair * 2 + i] = moments[i];
  __syncthreads();
  for (int column = static_cast<int>(threadIdx.x); column < T::n; column += T::threads) {
    Moments<float> total = all[column];
    for (int other = 1; other < ranges; ++other) {
      const Moments<float> next = all[other * T::n + column];
      total = merge(total, next);
    }
    partial[column] = total;
  }
}

}  // namespace gradus::cuda::implicit_gemm
