// Batch norm: x [rows, C], channels last, worked on as tensor/cuda/norm/channel_tiles.h says.
#include <cmath>
#include <limits>

#include "tensor/backend/instantiate.h"
#include "tensor/backend/merge_statistics.h"
#include "tensor/cuda/index.h"
#include "tensor/cuda/norm/channel_tiles.h"
#include "tensor/cuda/norm/moments.h"

namespace gradus::cuda {
namespace {

// x [rows, C] -> partial [chunks, C], of x - x[0]: near zero, so that no digits are lost where the
// mean is large. Four rows at a time: two-pass in registers, then merged.
template <class T, int width>
__global__ void moments_kernel(const T* x, Moments<Compute<T>>* partial, std::int64_t rows,
                               std::int64_t C) {
  using A = Compute<T>;
  constexpr int unroll = 4;
  const auto [channel, begin, step, at_first, stride] =
      share_of_thread<width, Walk::descending>(rows, C);
  A count = 0, shift[width] = {}, mean[width] = {}, deviations[width] = {};
  if (channel < C) {
    const Vector<T, width> first_row = load_vector<width>(x + channel);
    for (int i = 0; i < width; ++i) shift[i] = static_cast<A>(first_row[i]);
  }
  std::int64_t at = at_first;
  for (std::int64_t row = begin; row < rows && channel < C;
       row += unroll * step, at += unroll * stride) {
    Vector<T, width> values[unroll] = {};
    int n = 0;
    for (int u = 0; u < unroll; ++u) {
      if (row + u * step >= rows) continue;
      values[u] = load_vector<width>(x + at + u * stride);
      ++n;
    }
    const A share = static_cast<A>(n) / (count + static_cast<A>(n)), weight = count * share;
    const A inverse_n = 1 / static_cast<A>(n);
    for (int i = 0; i < width; ++i) {
      A sum = 0, squares = 0;
      for (int u = 0; u < unroll; ++u) {
        if (u < n) sum += static_cast<A>(values[u][i]) - shift[i];
      }
      const A group_mean = sum * inverse_n;
      for (int u = 0; u < unroll; ++u) {
        if (u >= n) continue;
        const A deviation = static_cast<A>(values[u][i]) - shift[i] - group_mean;
        squares += deviation * deviation;
      }
      const A delta = group_mean - mean[i];
      mean[i] += delta * share;
      deviations[i] += squares + delta * delta * weight;
    }
    count += static_cast<A>(n);
  }
  Moments<A> state[width];
  for (int i = 0; i < width; ++i) state[i] = {count, mean[i], deviations[i]};
  store_partial(state, channel, C, partial);
}

// partial [chunks, C] of x - x[0], or of x where that is null -> mean, variance [C].
template <class T>
__global__ void __launch_bounds__(finish_threads)
    finish_statistics_kernel(const T* x, const Moments<Compute<T>>* partial, Compute<T>* mean,
                             Compute<T>* variance, std::int64_t chunks, std::int64_t C) {
  using A = Compute<T>;
  const std::int64_t channel = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const Moments<A> all = merge_chunks(partial, channel, chunks, C);
  if (threadIdx.y != 0 || channel >= C) return;
  mean[channel] = x != nullptr ? static_cast<A>(x[channel]) + all.mean : all.mean;
  variance[channel] = all.deviations / all.count;
}

// x, residual [rows, C] (read only with `residual`), y [rows, C]. least: 0 for ReLU, else
// -infinity.
template <class T, int width, bool with_residual>
__global__ void __launch_bounds__(channel_block, 8)
    normalise_kernel(const T* x, const Compute<T>* mean, const Compute<T>* variance,
                     const Compute<T>* gamma, const Compute<T>* beta, const T* residual,
                     Compute<T> least, T* y, double eps, std::int64_t rows, std::int64_t C) {
  using A = Compute<T>;
  constexpr int unroll = with_residual ? 2 : 4;  // four loads under way
  const auto [channel, begin, step, at_first, stride] =
      share_of_thread<width, Walk::descending>(rows, C);
  if (channel >= C) return;
  A centre[width], scale[width], shift[width], spread[width];
  load_channels(mean + channel, centre);
  load_channels(variance + channel, spread);
  load_channels(gamma + channel, scale);
  load_channels(beta + channel, shift);
  for (int i = 0; i < width; ++i) scale[i] *= inverse_deviation(spread[i], eps);
  std::int64_t at = at_first;
  for (std::int64_t row = begin; row < rows; row += unroll * step, at += unroll * stride) {
    Vector<T, width> values[unroll], added[unroll];
    for (int u = 0; u < unroll; ++u) {
      const std::int64_t offset = at + further(u, row, rows, step, stride);
      values[u] = load_vector<width>(x + offset);
      if constexpr (with_residual) added[u] = load_vector<width>(residual + offset);
    }
    for (int u = 0; u < unroll; ++u) {
      if (row + u * step >= rows) continue;
      Vector<T, width> results;
      for (int i = 0; i < width; ++i) {
        A value = (static_cast<A>(values[u][i]) - centre[i]) * scale[i] + shift[i];
        if constexpr (with_residual) value += static_cast<A>(added[u][i]);
        results[i] = static_cast<T>(value < least ? least : value);  // NaN stays NaN
      }
      store_vector(y + at + u * stride, results);
    }
  }
}

// of_parts [parts, 2, C] -> mean, variance [C]
template <class T>
__global__ void merge_kernel(const T* of_parts, T* mean, T* variance, std::int64_t parts,
                             std::int64_t C) {
  for (auto c = first_index<std::int64_t>(); c < C; c += index_stride<std::int64_t>())
    merge_statistics(of_parts + c, parts, C, mean[c], variance[c]);
}

// running_mean, running_var, batch_mean, batch_var [C]
template <class T>
__global__ void track_kernel(T* running_mean, T* running_var, std::int64_t* count,
                             const T* batch_mean, const T* batch_var, T keep, T mean_share,
                             T var_share, std::int64_t C) {
  const auto first = first_index<std::int64_t>();
  for (std::int64_t c = first; c < C; c += index_stride<std::int64_t>()) {
    running_mean[c] = keep * running_mean[c] + mean_share * batch_mean[c];
    running_var[c] = keep * running_var[c] + var_share * batch_var[c];
  }
  if (first == 0) ++*count;
}

}  // namespace

// --- launchers ----------------------------------------------------------------------------------

template <class T>
void batch_norm_statistics(const T* x, Compute<T>* mean, Compute<T>* variance, std::int64_t rows,
                           std::int64_t C) {
  using State = Moments<Compute<T>>;
  if (C == 0) return;
  with_vector_size<T>(
      C,
      [&]<int width>() {
        const LaunchShape shape = tile(rows, C, width, 8);
        const std::int64_t chunks = shape.grid.y;
        const double cached = partial_bytes<State>(chunks, C);
        Scratch<State> partial(chunks * C);
        launch("batch_norm_statistics", moments_kernel<T, width>, shape,
               work_of<T>(1, 0, rows, C, 6, cached), x, partial.data(), rows, C);
        launch("batch_norm_statistics finish", finish_statistics_kernel<T>, finish_shape(C, chunks),
               work_of<T>(0, 2, rows, C, 0, cached), x, partial.data(), mean, variance, chunks, C);
      },
      x);
}

void merge_moments(const Moments<float>* partial, float* mean, float* variance, std::int64_t chunks,
                   std::int64_t C) {
  launch("batch_norm_statistics finish", finish_statistics_kernel<float>, finish_shape(C, chunks),
         work_of<float>(0, 2, 1, C, 0, partial_bytes<Moments<float>>(chunks, C)),
         static_cast<const float*>(nullptr), partial, mean, variance, chunks, C);
}

template <class T>
void batch_norm(const T* x, const Compute<T>* mean, const Compute<T>* variance,
                const Compute<T>* gamma, const Compute<T>* beta, const T* residual, bool relu, T* y,
                double eps, std::int64_t rows, std::int64_t C) {
  using A = Compute<T>;
  if (rows == 0 || C == 0) return;
  const A least = relu ? A{0} : -std::numeric_limits<A>::infinity();
  with_vector_size<T>(
      C,
      [&]<int width>() {
        launch("batch_norm",
               residual != nullptr ? normalise_kernel<T, width, true>
                                   : normalise_kernel<T, width, false>,
               tile(rows, C, width, 16), work_of<T>(residual != nullptr ? 3 : 2, 4, rows, C, 4), x,
               mean, variance, gamma, beta, residual, least, y, eps, rows, C);
      },
      x, residual, y, mean, variance, gamma, beta);
}

template <class T>
void batch_norm_merge_statistics(const T* of_parts, T* mean, T* variance, std::int64_t parts,
                                 std::int64_t C) {
  launch("batch_norm_merge_statistics", merge_kernel<T>, one_thread_each(C, 64),
         work_of<T>(0, static_cast<double>(2 * parts + 2), 1, C, static_cast<double>(5 * parts)),
         of_parts, mean, variance, parts, C);
}

template <class T>
void batch_norm_track(T* running_mean, T* running_var, std::int64_t* count, const T* batch_mean,
                      const T* batch_var, double momentum, double unbiased, std::int64_t C) {
  launch("batch_norm_track", track_kernel<T>, one_thread_each(C), work_of<T>(0, 6, 1, C, 6),
         running_mean, running_var, count, batch_mean, batch_var, static_cast<T>(1 - momentum),
         static_cast<T>(momentum), static_cast<T>(momentum * unbiased), C);
}

GRADUS_INSTANTIATE_FLOATS(batch_norm_statistics)
GRADUS_INSTANTIATE_FLOATS(batch_norm)
GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(batch_norm_merge_statistics)
GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(batch_norm_track)

}  // namespace gradus::cuda
