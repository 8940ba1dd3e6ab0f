// The gradients of batch norm: first dgamma and dbeta, which are sums over the rows, then dx, which
// reads them. Worked on as tensor/cuda/norm/channel_tiles.h says.
#include "tensor/backend/instantiate.h"
#include "tensor/cuda/norm/channel_tiles.h"

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

/// Where a gradient passes a ReLU: everywhere without one; where the normalised x > 0; where the
/// ReLU's result y > 0, and there it may come in two terms.
enum class Mask { none, of_x, of_y, of_y_two_terms };

// dy, x [rows, C] -> partial [chunks, C], where g = dy, or (z > 0) dy with z = (x - mean) scale +
// beta, scale = gamma / sqrt(variance + eps), or (y > 0) dy, or (y > 0) (dy + dy2). Where it is of
// y [rows, C], masked [rows, C] becomes g.
template <class T, int width, Mask mask>
__global__ void __launch_bounds__(channel_block, mask == Mask::of_x ? 6 : 8)
    gradient_sums_kernel(const T* dy, const T* dy2, const T* x, const T* y, const Compute<T>* mean,
                         const Compute<T>* variance, const Compute<T>* gamma,
                         const Compute<T>* beta, T* masked, GradientSums<Compute<T>>* partial,
                         double eps, std::int64_t rows, std::int64_t C) {
  using A = Compute<T>;
  constexpr bool two_terms = mask == Mask::of_y_two_terms, of_y = mask == Mask::of_y || two_terms;
  constexpr int unroll = of_y ? 1 : 2;  // 3 or 4 loads under way, which take registers
  const auto [channel, begin, step, at_first, stride] =
      share_of_thread<width, Walk::descending>(rows, C);
  A centre[width] = {}, scale[width] = {}, shift[width] = {};
  GradientSums<A> state[width] = {};
  if (channel < C) load_channels(mean + channel, centre);
  if (mask == Mask::of_x && channel < C) {
    A spread[width];
    load_channels(variance + channel, spread);
    load_channels(gamma + channel, scale);
    load_channels(beta + channel, shift);
    for (int i = 0; i < width; ++i) scale[i] *= inverse_deviation(spread[i], eps);
  }
  std::int64_t at = at_first;
  for (std::int64_t row = begin; row < rows && channel < C;
       row += unroll * step, at += unroll * stride) {
    Vector<T, width> g[unroll], second[unroll], values[unroll], results[unroll];
    for (int u = 0; u < unroll; ++u) {
      const std::int64_t offset = at + further(u, row, rows, step, stride);
      g[u] = load_vector<width>(dy + offset);
      values[u] = load_vector<width>(x + offset);
      if constexpr (of_y) results[u] = load_vector<width>(y + offset);
      if constexpr (two_terms) second[u] = load_vector<width>(dy2 + offset);
    }
    for (int u = 0; u < unroll; ++u) {
      if (row + u * step >= rows) continue;
      for (int i = 0; i < width; ++i) {
        const A deviation = static_cast<A>(values[u][i]) - centre[i];
        A gradient = static_cast<A>(g[u][i]);
        if constexpr (two_terms) gradient += static_cast<A>(second[u][i]);
        if constexpr (mask == Mask::of_x) {
          if (!(deviation * scale[i] + shift[i] > 0)) gradient = 0;
        } else if constexpr (of_y) {
          if (!(static_cast<A>(results[u][i]) > 0)) gradient = 0;
          g[u][i] = static_cast<T>(gradient);
        }
        state[i].g += gradient;
        // Rounded once, with a mask and without: left to itself, the compiler rounds some twice.
        state[i].g_x = std::fma(gradient, deviation, state[i].g_x);
      }
      if constexpr (of_y) store_vector(masked + at + u * stride, g[u]);
    }
  }
  store_partial(state, channel, C, partial);
}

// partial [chunks, C] -> dgamma, dbeta [C].
template <class A>
__global__ void __launch_bounds__(finish_threads)
    finish_gradients_kernel(const GradientSums<A>* partial, const A* variance, A* dgamma, A* dbeta,
                            double eps, std::int64_t chunks, std::int64_t C) {
  const std::int64_t channel = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const GradientSums<A> all = merge_chunks(partial, channel, chunks, C);
  if (threadIdx.y != 0 || channel >= C) return;
  dbeta[channel] = all.g;
  dgamma[channel] = all.g_x * inverse_deviation(variance[channel], eps);
}

// g, x [rows, C] -> dx [rows, C], which may be g itself:
//   dx = scale (g - shift - (x - mean) slope), scale = gamma / sqrt(variance + eps),
//   shift = dbeta / batch_rows, slope = dgamma / batch_rows / sqrt(variance + eps);
// where the statistics are constants (not `training`), dx = scale g. With `mask`, g counts only
// where (x - mean) scale + beta > 0.
template <class T, int width, bool training, bool mask>
__global__ void __launch_bounds__(channel_block, mask ? 6 : 8)
    input_gradient_kernel(const T* g, const T* x, const Compute<T>* mean,
                          const Compute<T>* variance, const Compute<T>* gamma,
                          const Compute<T>* beta, const Compute<T>* dgamma, const Compute<T>* dbeta,
                          T* dx, double eps, std::int64_t batch_rows, std::int64_t rows,
                          std::int64_t C) {
  using A = Compute<T>;
  constexpr int unroll = 2;
  const auto [channel, begin, step, at_first, stride] =
      share_of_thread<width, Walk::ascending>(rows, C);
  if (channel >= C) return;
  A centre[width], scale[width], bias[width], shift[width], slope[width], spread[width];
  load_channels(variance + channel, spread);
  load_channels(gamma + channel, scale);
  if constexpr (training || mask) load_channels(mean + channel, centre);
  if constexpr (mask) load_channels(beta + channel, bias);
  if constexpr (training) {
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
  std::int64_t at = at_first;
  for (std::int64_t row = begin; row < rows; row += unroll * step, at += unroll * stride) {
    Vector<T, width> gradients[unroll], values[unroll];
    for (int u = 0; u < unroll; ++u) {
      const std::int64_t offset = at + further(u, row, rows, step, stride);
      gradients[u] = load_vector<width>(g + offset);
      if constexpr (training || mask) values[u] = load_vector<width>(x + offset);
    }
    for (int u = 0; u < unroll; ++u) {
      if (row + u * step >= rows) continue;
      Vector<T, width> results;
      for (int i = 0; i < width; ++i) {
        A result = static_cast<A>(gradients[u][i]);
        const A deviation = static_cast<A>(values[u][i]) - centre[i];
        if (mask && !(deviation * scale[i] + bias[i] > 0)) result = 0;
        if constexpr (training) result -= shift[i] + deviation * slope[i];
        results[i] = static_cast<T>(scale[i] * result);
      }
      store_vector(dx + at + u * stride, results);
    }
  }
}

}  // namespace

template <class T>
void batch_norm_backward_sums(const BatchNormBackward<T>& b, Compute<T>* dgamma,
                              Compute<T>* dbeta) {
  using State = GradientSums<Compute<T>>;
  if (b.C == 0) return;
  with_vector_size<T>(
      b.C,
      [&]<int width>() {
        const LaunchShape shape = tile(b.rows, b.C, width, 8);
        const std::int64_t chunks = shape.grid.y;
        const double cached = partial_bytes<State>(chunks, b.C);
        Scratch<State> partial(chunks * b.C);
        const auto start = [&]<Mask mask>() {
          launch("batch_norm_backward sums", gradient_sums_kernel<T, width, mask>, shape,
                 work_of<T>(2 + 2 * (b.y != nullptr) + (b.dy2 != nullptr), b.relu ? 4 : 1, b.rows,
                            b.C, 4, cached),
                 b.dy, b.dy2, b.x, b.y, b.mean, b.variance, b.gamma, b.beta, b.dresidual,
                 partial.data(), b.eps, b.rows, b.C);
        };
        if (!b.relu) {
          start.template operator()<Mask::none>();
        } else if (b.y == nullptr) {
          start.template operator()<Mask::of_x>();
        } else if (b.dy2 == nullptr) {
          start.template operator()<Mask::of_y>();
        } else {
          start.template operator()<Mask::of_y_two_terms>();
        }
        launch("batch_norm_backward finish", finish_gradients_kernel<Compute<T>>,
               finish_shape(b.C, chunks), work_of<T>(0, 3, b.rows, b.C, 0, cached), partial.data(),
               b.variance, dgamma, dbeta, b.eps, chunks, b.C);
      },
      b.dy, b.dy2, b.x, b.y, b.dx, b.dresidual, b.mean, b.variance, b.gamma, b.beta);
}

template <class T>
void batch_norm_backward_input(const BatchNormBackward<T>& b, const Compute<T>* dgamma,
                               const Compute<T>* dbeta, std::int64_t batch_rows) {
  if (b.C == 0 || b.rows == 0) return;
  const bool masked = b.y != nullptr, training = batch_rows > 0;
  with_vector_size<T>(
      b.C,
      [&]<int width>() {
        const auto start = [&]<bool mask>() {
          launch(
              "batch_norm_backward input",
              training ? input_gradient_kernel<T, width, true, mask>
                       : input_gradient_kernel<T, width, false, mask>,
              tile(b.rows, b.C, width, 16),
              work_of<T>(training || mask ? 3 : 2, training ? 5 : 2, b.rows, b.C, training ? 5 : 1),
              masked ? b.dresidual : b.dy, b.x, b.mean, b.variance, b.gamma, b.beta, dgamma, dbeta,
              b.dx, b.eps, batch_rows, b.rows, b.C);
        };
        if (b.relu && !masked) {
          start.template operator()<true>();
        } else {
          start.template operator()<false>();
        }
      },
      b.dy, b.x, b.y, b.dx, b.dresidual, b.mean, b.variance, b.gamma, b.beta, dgamma, dbeta);
}

GRADUS_INSTANTIATE_FLOATS(batch_norm_backward_sums)
GRADUS_INSTANTIATE_FLOATS(batch_norm_backward_input)

}  // namespace gradus::cuda
