// Batch norm: x [rows, C], channels last, worked on as tensor/cuda/norm/channel_tiles.h says.
#include <cmath>
#include <limits>

#include "tensor/backend/kernels.h"
#include "tensor/cuda/norm/channel_tiles.h"
#include "tensor/cuda/norm/moments.h"

namespace gradus::cuda {
namespace {

/// sum g and sum g (x - mean) over some rows of a channel.
template <class A>
struct GradientSums {
  A g, g_x;
};

template <class A>
__device__ GradientSums<A> merge(const GradientSums<A>& a, const GradientSums<A>& b) {
  return {a.g + b.g, a.g_x + b.g_x};
}

// x [rows, C] -> partial [chunks, C], of x - x[0]: near zero, so that no digits are lost where the
// mean is large. Four rows at a time: two-pass in registers, then merged.
template <class T, int width>
__global__ void moments_kernel(const T* x, Moments<Compute<T>>* partial, std::int64_t rows,
                               std::int64_t C, std::int64_t rows_per_chunk) {
  using A = Compute<T>;
  constexpr int unroll = 4;
  const auto [channel, begin, end, step] = share_of_thread<width>(rows, rows_per_chunk);
  A count = 0, shift[width] = {}, mean[width] = {}, deviations[width] = {};
  if (channel < C) {
    const Vector<T, width> first_row = load_vector<width>(x + channel);
    for (int i = 0; i < width; ++i) shift[i] = static_cast<A>(first_row[i]);
  }
  for (std::int64_t row = begin; row < end && channel < C; row += unroll * step) {
    Vector<T, width> values[unroll] = {};
    int n = 0;
    for (int u = 0; u < unroll; ++u) {
      if (row + u * step >= end) continue;
      values[u] = load_vector<width>(x + (row + u * step) * C + channel);
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
__global__ void finish_statistics_kernel(const T* x, const Moments<Compute<T>>* partial,
                                         Compute<T>* mean, Compute<T>* variance,
                                         std::int64_t chunks, std::int64_t C) {
  using A = Compute<T>;
  const std::int64_t channel = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const Moments<A> all = merge_chunks(partial, channel, chunks, C);
  if (threadIdx.y != 0 || channel >= C) return;
  mean[channel] = x != nullptr ? static_cast<A>(x[channel]) + all.mean : all.mean;
  variance[channel] = all.deviations / all.count;
}

template <class A>
__device__ A inverse_deviation(A variance, double eps) {
  return 1 / std::sqrt(variance + static_cast<A>(eps));
}

// x, residual (or null), y [rows, C]. least: 0 for ReLU, else -infinity.
template <class T, int width>
__global__ void normalise_kernel(const T* x, const Compute<T>* mean, const Compute<T>* variance,
                                 const Compute<T>* gamma, const Compute<T>* beta, const T* residual,
                                 Compute<T> least, T* y, double eps, std::int64_t rows,
                                 std::int64_t C, std::int64_t rows_per_chunk) {
  using A = Compute<T>;
  constexpr int unroll = 2;
  const auto [channel, begin, end, step] = share_of_thread<width>(rows, rows_per_chunk);
  if (channel >= C) return;
  A centre[width], scale[width], shift[width], spread[width];
  load_channels(mean + channel, centre);
  load_channels(variance + channel, spread);
  load_channels(gamma + channel, scale);
  load_channels(beta + channel, shift);
  for (int i = 0; i < width; ++i) scale[i] *= inverse_deviation(spread[i], eps);
  for (std::int64_t row = begin; row < end; row += unroll * step) {
    Vector<T, width> values[unroll] = {}, added[unroll] = {};
    for (int u = 0; u < unroll; ++u) {
      if (row + u * step >= end) continue;
      const std::int64_t offset = (row + u * step) * C + channel;
      values[u] = load_vector<width>(x + offset);
      if (residual != nullptr) added[u] = load_vector<width>(residual + offset);
    }
    for (int u = 0; u < unroll; ++u) {
      if (row + u * step >= end) continue;
      for (int i = 0; i < width; ++i) {
        const A value = (static_cast<A>(values[u][i]) - centre[i]) * scale[i] + shift[i] +
                        static_cast<A>(added[u][i]);
        values[u][i] = static_cast<T>(value < least ? least : value);  // NaN stays NaN
      }
      store_vector(y + (row + u * step) * C + channel, values[u]);
    }
  }
}

// dy, x [rows, C] -> partial [chunks, C], where g = dy; with ReLU masked [rows, C] becomes
// g = (y > 0) dy, y [rows, C] or, where that is null, (x - mean) scale + beta, scale = gamma /
// sqrt(variance + eps).
template <class T, int width, bool relu>
__global__ void gradient_sums_kernel(const T* dy, const T* x, const T* y, const Compute<T>* mean,
                                     const Compute<T>* variance, const Compute<T>* gamma,
                                     const Compute<T>* beta, T* masked,
                                     GradientSums<Compute<T>>* partial, double eps,
                                     std::int64_t rows, std::int64_t C,
                                     std::int64_t rows_per_chunk) {
  using A = Compute<T>;
  constexpr int unroll = 2;
  const auto [channel, begin, end, step] = share_of_thread<width>(rows, rows_per_chunk);
  A centre[width] = {}, scale[width] = {}, shift[width] = {};
  GradientSums<A> state[width] = {};
  if (channel < C) load_channels(mean + channel, centre);
  if (relu && y == nullptr && channel < C) {
    A spread[width];
    load_channels(variance + channel, spread);
    load_channels(gamma + channel, scale);
    load_channels(beta + channel, shift);
    for (int i = 0; i < width; ++i) scale[i] *= inverse_deviation(spread[i], eps);
  }
  for (std::int64_t row = begin; row < end && channel < C; row += unroll * step) {
    Vector<T, width> g[unroll] = {}, values[unroll] = {}, results[unroll] = {};
    for (int u = 0; u < unroll; ++u) {
      if (row + u * step >= end) continue;
      const std::int64_t offset = (row + u * step) * C + channel;
      g[u] = load_vector<width>(dy + offset);
      values[u] = load_vector<width>(x + offset);
      if (relu && y != nullptr) results[u] = load_vector<width>(y + offset);
    }
    for (int u = 0; u < unroll; ++u) {
      if (row + u * step >= end) continue;
      for (int i = 0; i < width; ++i) {
        if constexpr (relu) {
          const A result = y != nullptr
                               ? static_cast<A>(results[u][i])
                               : (static_cast<A>(values[u][i]) - centre[i]) * scale[i] + shift[i];
          if (!(result > 0)) g[u][i] = static_cast<T>(A{0});
        }
        const A gradient = static_cast<A>(g[u][i]);
        state[i].g += gradient;
        // Rounded once, with a mask and without: left to itself, the compiler rounds some twice.
        state[i].g_x = std::fma(gradient, static_cast<A>(values[u][i]) - centre[i], state[i].g_x);
      }
      if (relu) store_vector(masked + (row + u * step) * C + channel, g[u]);
    }
  }
  store_partial(state, channel, C, partial);
}

// partial [chunks, C] -> dgamma, dbeta [C].
template <class A>
__global__ void finish_gradients_kernel(const GradientSums<A>* partial, const A* variance,
                                        A* dgamma, A* dbeta, double eps, std::int64_t chunks,
                                        std::int64_t C) {
  const std::int64_t channel = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const GradientSums<A> all = merge_chunks(partial, channel, chunks, C);
  if (threadIdx.y != 0 || channel >= C) return;
  dbeta[channel] = all.g;
  dgamma[channel] = all.g_x * inverse_deviation(variance[channel], eps);
}

// g, x [rows, C] -> dx [rows, C], which may be g itself:
//   dx = scale (g - shift - (x - mean) slope), scale = gamma / sqrt(variance + eps),
//   shift = dbeta / batch_rows, slope = dgamma / batch_rows / sqrt(variance + eps);
// where the statistics are constants (not `training`), dx = scale g.
template <class T, int width, bool training>
__global__ void input_gradient_kernel(const T* g, const T* x, const Compute<T>* mean,
                                      const Compute<T>* variance, const Compute<T>* gamma,
                                      const Compute<T>* dgamma, const Compute<T>* dbeta, T* dx,
                                      double eps, std::int64_t batch_rows, std::int64_t rows,
                                      std::int64_t C, std::int64_t rows_per_chunk) {
  using A = Compute<T>;
  constexpr int unroll = 2;
  const auto [channel, begin, end, step] = share_of_thread<width>(rows, rows_per_chunk);
  if (channel >= C) return;
  A centre[width], scale[width], shift[width], slope[width], spread[width];
  load_channels(variance + channel, spread);
  load_channels(gamma + channel, scale);
  if constexpr (training) {
    load_channels(mean + channel, centre);
    load_channels(dbeta + channel, shift);
    load_channels(dgamma + channel, slope);
  }
  const A share = 1 / static_cast<A>(batch_rows);
  for (int i = 0; i < width; ++i) {
    const A inverse = inverse_deviation(spread[i], eps);
    scale[i] *= inverse;
    if constexpr (training) {
      shift[i] *= share;
      slope[i] *= share * inverse;
    }
  }
  for (std::int64_t row = begin; row < end; row += unroll * step) {
    Vector<T, width> gradients[unroll] = {}, values[unroll] = {};
    for (int u = 0; u < unroll; ++u) {
      if (row + u * step >= end) continue;
      const std::int64_t offset = (row + u * step) * C + channel;
      gradients[u] = load_vector<width>(g + offset);
      if constexpr (training) values[u] = load_vector<width>(x + offset);
    }
    for (int u = 0; u < unroll; ++u) {
      if (row + u * step >= end) continue;
      for (int i = 0; i < width; ++i) {
        A result = static_cast<A>(gradients[u][i]);
        if constexpr (training) {
          result -= shift[i] + (static_cast<A>(values[u][i]) - centre[i]) * slope[i];
        }
        gradients[u][i] = static_cast<T>(scale[i] * result);
      }
      store_vector(dx + (row + u * step) * C + channel, gradients[u]);
    }
  }
}

// running_mean, running_var, batch_mean, batch_var [C]
template <class T>
__global__ void track_kernel(T* running_mean, T* running_var, std::int64_t* count,
                             const T* batch_mean, const T* batch_var, T keep, T mean_share,
                             T var_share, std::int64_t C) {
  const std::int64_t first = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  for (std::int64_t c = first; c < C; c += std::int64_t{gridDim.x} * blockDim.x) {
    running_mean[c] = keep * running_mean[c] + mean_share * batch_mean[c];
    running_var[c] = keep * running_var[c] + var_share * batch_var[c];
  }
  if (first == 0) ++*count;
}

// --- launchers ----------------------------------------------------------------------------------

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

/// Where the masked gradient goes.
template <class T>
T* masked_gradient(const BatchNormBackward<T>& b) {
  return b.dresidual != nullptr ? b.dresidual : b.dx;
}

template <class State>
double partial_bytes(std::int64_t chunks, std::int64_t C) {
  return static_cast<double>(chunks) * static_cast<double>(C) * sizeof(State);
}

}  // namespace

template <class T>
void batch_norm_statistics(const T* x, Compute<T>* mean, Compute<T>* variance, std::int64_t rows,
                           std::int64_t C) {
  using State = Moments<Compute<T>>;
  if (C == 0) return;
  with_width<T>(
      C,
      [&]<int width>() {
        const Tiling t = tile(rows, C, width, 4);
        const double cached = partial_bytes<State>(t.chunks(), C);
        Scratch<State> partial(t.chunks() * C);
        launch("batch_norm_statistics", moments_kernel<T, width>, t.shape,
               work_of<T>(1, 0, rows, C, 6, cached), x, partial.data(), rows, C, t.rows_per_chunk);
        launch("batch_norm_statistics finish", finish_statistics_kernel<T>, finish_shape(C),
               work_of<T>(0, 2, rows, C, 0, cached), x, partial.data(), mean, variance, t.chunks(),
               C);
      },
      x);
}

void merge_moments(const Moments<float>* partial, float* mean, float* variance, std::int64_t chunks,
                   std::int64_t C) {
  launch("batch_norm_statistics finish", finish_statistics_kernel<float>, finish_shape(C),
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
  with_width<T>(
      C,
      [&]<int width>() {
        const Tiling t = tile(rows, C, width, 8);
        launch("batch_norm", normalise_kernel<T, width>, t.shape,
               work_of<T>(residual != nullptr ? 3 : 2, 4, rows, C, 4), x, mean, variance, gamma,
               beta, residual, least, y, eps, rows, C, t.rows_per_chunk);
      },
      x, residual, y, mean, variance, gamma, beta);
}

template <class T>
void batch_norm_backward_sums(const BatchNormBackward<T>& b, Compute<T>* dgamma,
                              Compute<T>* dbeta) {
  using State = GradientSums<Compute<T>>;
  if (b.C == 0) return;
  with_width<T>(
      b.C,
      [&]<int width>() {
        const Tiling t = tile(b.rows, b.C, width, 4);
        const double cached = partial_bytes<State>(t.chunks(), b.C);
        Scratch<State> partial(t.chunks() * b.C);
        launch(
            "batch_norm_backward sums",
            b.relu ? gradient_sums_kernel<T, width, true> : gradient_sums_kernel<T, width, false>,
            t.shape,
            work_of<T>(!b.relu          ? 2
                       : b.y == nullptr ? 3
                                        : 4,
                       b.relu ? 4 : 1, b.rows, b.C, 4, cached),
            b.dy, b.x, b.y, b.mean, b.variance, b.gamma, b.beta, masked_gradient(b), partial.data(),
            b.eps, b.rows, b.C, t.rows_per_chunk);
        launch("batch_norm_backward finish", finish_gradients_kernel<Compute<T>>, finish_shape(b.C),
               work_of<T>(0, 3, b.rows, b.C, 0, cached), partial.data(), b.variance, dgamma, dbeta,
               b.eps, t.chunks(), b.C);
      },
      b.dy, b.x, b.y, b.dx, b.dresidual, b.mean, b.variance, b.gamma, b.beta);
}

template <class T>
void batch_norm_backward_input(const BatchNormBackward<T>& b, const Compute<T>* dgamma,
                               const Compute<T>* dbeta, std::int64_t batch_rows) {
  if (b.C == 0 || b.rows == 0) return;
  const T* const g = b.relu ? masked_gradient(b) : b.dy;
  const bool training = batch_rows > 0;
  with_width<T>(
      b.C,
      [&]<int width>() {
        const Tiling t = tile(b.rows, b.C, width, 8);
        launch("batch_norm_backward input",
               training ? input_gradient_kernel<T, width, true>
                        : input_gradient_kernel<T, width, false>,
               t.shape,
               work_of<T>(training ? 3 : 2, training ? 5 : 2, b.rows, b.C, training ? 5 : 1), g,
               b.x, b.mean, b.variance, b.gamma, dgamma, dbeta, b.dx, b.eps, batch_rows, b.rows,
               b.C, t.rows_per_chunk);
      },
      b.dy, b.x, b.y, b.dx, b.dresidual, b.mean, b.variance, b.gamma, b.beta, dgamma, dbeta);
}

template <class T>
void batch_norm_track(T* running_mean, T* running_var, std::int64_t* count, const T* batch_mean,
                      const T* batch_var, double momentum, double unbiased, std::int64_t C) {
  launch("batch_norm_track", track_kernel<T>, one_thread_each(C), work_of<T>(0, 6, 1, C, 6),
         running_mean, running_var, count, batch_mean, batch_var, static_cast<T>(1 - momentum),
         static_cast<T>(momentum), static_cast<T>(momentum * unbiased), C);
}

#define GRADUS_INSTANTIATE(T)                                                                    \
  template void batch_norm_statistics<T>(const T*, Compute<T>*, Compute<T>*, std::int64_t,       \
                                         std::int64_t);                                          \
  template void batch_norm<T>(const T*, const Compute<T>*, const Compute<T>*, const Compute<T>*, \
                              const Compute<T>*, const T*, bool, T*, double, std::int64_t,       \
                              std::int64_t);                                                     \
  template void batch_norm_backward_sums<T>(const BatchNormBackward<T>&, Compute<T>*,            \
                                            Compute<T>*);                                        \
  template void batch_norm_backward_input<T>(const BatchNormBackward<T>&, const Compute<T>*,     \
                                             const Compute<T>*, std::int64_t);
GRADUS_INSTANTIATE(float)
GRADUS_INSTANTIATE(double)
GRADUS_INSTANTIATE(BFloat16)
#undef GRADUS_INSTANTIATE
template void batch_norm_track<float>(float*, float*, std::int64_t*, const float*, const float*,
                                      double, double, std::int64_t);
template void batch_norm_track<double>(double*, double*, std::int64_t*, const double*,
                                       const double*, double, double, std::int64_t);

}  // namespace gradus::cuda
