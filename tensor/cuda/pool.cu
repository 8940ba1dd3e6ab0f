// Pooling. Forward kernels have a thread for a few channels of an output position, backward kernels
// of an input position, which gathers from the windows that cover it: no element has two writers.
#include <algorithm>

#include "tensor/backend/instantiate.h"
#include "tensor/backend/pooling.h"
#include "tensor/cuda/gemm/gemm.h"
#include "tensor/cuda/index.h"
#include "tensor/cuda/runtime/launch.h"

namespace gradus::cuda {
namespace {

using Pool = Pooling<int>;

/// Image, row, column and first channel of the i-th group of `width` channels of images
/// [N, height, columns, C].
template <class Index>
struct Position {
  Index n;
  int row, column, channel;
};

template <int width, class Index>
__device__ Position<Index> position_of(Index i, int height, int columns, int C) {
  const Index channels = static_cast<Index>(C / width);
  Index pixel = i / channels;
  const int channel = static_cast<int>(i - pixel * channels) * width;
  Index row = pixel / static_cast<Index>(columns);
  const int column = static_cast<int>(pixel - row * static_cast<Index>(columns));
  const Index n = row / static_cast<Index>(height);
  return {n, static_cast<int>(row - n * static_cast<Index>(height)), column, channel};
}

/// The offset of (row, column, channel) in image n of [N, height, columns, C].
template <class Index>
__device__ std::int64_t offset_of(Index n, int row, int column, int channel, int height,
                                  int columns, int C) {
  const std::int64_t pixel = (static_cast<std::int64_t>(n) * height + row) * columns + column;
  return pixel * C + channel;
}

template <int width, class T>
__device__ void store_rounded(T* y, const Compute<T> (&values)[width]) {
  Vector<T, width> v;
#pragma unroll
  for (int k = 0; k < width; ++k) v[k] = static_cast<T>(values[k]);
  store_vector(y, v);
}

// input [N, H, W, C], output and index [N, out_height, out_width, C]; items = output / width.
template <int width, class Index, class T>
__global__ void max_pool2d_kernel(const T* input, T* output, std::int64_t* index, Pool g,
                                  Index items) {
  using C = Compute<T>;
  for (Index i = first_index<Index>(); i < items; i += index_stride<Index>()) {
    const Position<Index> at = position_of<width>(i, g.rows.out_size, g.columns.out_size, g.C);
    const auto rows = g.rows.window(at.row), columns = g.columns.window(at.column);
    const int first =
        rows.begin * g.columns.size + columns.begin;  // the window's, which is never empty
    const auto start =
        load_vector<width>(input + offset_of(at.n, rows.begin, columns.begin, at.channel,
                                             g.rows.size, g.columns.size, g.C));
    C best[width];
    int best_at[width];
#pragma unroll
    for (int k = 0; k < width; ++k) {
      best[k] = start[k];
      best_at[k] = first;
    }
    for (int h = rows.begin; h < rows.end; ++h) {
      for (int w = columns.begin; w < columns.end; ++w) {
        const auto x = load_vector<width>(
            input + offset_of(at.n, h, w, at.channel, g.rows.size, g.columns.size, g.C));
#pragma unroll
        for (int k = 0; k < width; ++k) {
          const C value = x[k];
          if (value > best[k] || (value != value && best[k] == best[k])) {
            best[k] = value;
            best_at[k] = h * g.columns.size + w;
          }
        }
      }
    }
    const std::int64_t to = static_cast<std::int64_t>(i) * width;
    store_rounded(output + to, best);
    constexpr int pair = width > 1 ? 2 : 1;
#pragma unroll
    for (int k = 0; k < width; k += pair) {
      Vector<std::int64_t, pair> places;
#pragma unroll
      for (int j = 0; j < pair; ++j) places[j] = best_at[k + j];
      store_vector(index + to + k, places);
    }
  }
}

// doutput, index [N, out_height, out_width, C], dinput [N, H, W, C]; items = dinput / width.
template <int width, class Index, class T>
__global__ void max_pool2d_backward_kernel(const T* doutput, const std::int64_t* index, T* dinput,
                                           Pool g, Index items) {
  for (Index i = first_index<Index>(); i < items; i += index_stride<Index>()) {
    const Position<Index> at = position_of<width>(i, g.rows.size, g.columns.size, g.C);
    const auto rows = g.rows.windows_over(at.row);
    const auto columns = g.columns.windows_over(at.column);
    const int own = at.row * g.columns.size + at.column;
    Compute<T> sum[width] = {};
    for (int p = rows.begin; p < rows.end; ++p) {
      for (int q = columns.begin; q < columns.end; ++q) {
        const auto from =
            offset_of(at.n, p, q, at.channel, g.rows.out_size, g.columns.out_size, g.C);
        const auto dy = load_vector<width>(doutput + from);
#pragma unroll
        for (int k = 0; k < width; ++k)
          if (index[from + k] == own) sum[k] += dy[k];
      }
    }
    store_rounded(dinput + static_cast<std::int64_t>(i) * width, sum);
  }
}

// input [N, H, W, C], output [N, out_height, out_width, C]; items = output / width.
template <int width, class Index, class T>
__global__ void avg_pool2d_kernel(const T* input, T* output, Pool g, Index items) {
  for (Index i = first_index<Index>(); i < items; i += index_stride<Index>()) {
    const Position<Index> at = position_of<width>(i, g.rows.out_size, g.columns.out_size, g.C);
    const auto rows = g.rows.window(at.row), columns = g.columns.window(at.column);
    Compute<T> sum[width] = {};
    for (int h = rows.begin; h < rows.end; ++h) {
      Compute<T> row[width] = {};  // lest large sums drop small terms
      for (int w = columns.begin; w < columns.end; ++w) {
        const auto x = load_vector<width>(
            input + offset_of(at.n, h, w, at.channel, g.rows.size, g.columns.size, g.C));
#pragma unroll
        for (int k = 0; k < width; ++k) row[k] += x[k];
      }
#pragma unroll
      for (int k = 0; k < width; ++k) sum[k] += row[k];
    }
    const auto divisor = g.divisor<Compute<T>>(at.row, at.column);
#pragma unroll
    for (int k = 0; k < width; ++k) sum[k] /= divisor;
    store_rounded(output + static_cast<std::int64_t>(i) * width, sum);
  }
}

// doutput [N, out_height, out_width, C], dinput [N, H, W, C]; items = dinput / width.
template <int width, class Index, class T>
__global__ void avg_pool2d_backward_kernel(const T* doutput, T* dinput, Pool g, Index items) {
  for (Index i = first_index<Index>(); i < items; i += index_stride<Index>()) {
    const Position<Index> at = position_of<width>(i, g.rows.size, g.columns.size, g.C);
    const auto rows = g.rows.windows_over(at.row);
    const auto columns = g.columns.windows_over(at.column);
    Compute<T> sum[width] = {};
    for (int p = rows.begin; p < rows.end; ++p) {
      for (int q = columns.begin; q < columns.end; ++q) {
        const auto divisor = g.divisor<Compute<T>>(p, q);
        const auto dy = load_vector<width>(
            doutput + offset_of(at.n, p, q, at.channel, g.rows.out_size, g.columns.out_size, g.C));
#pragma unroll
        for (int k = 0; k < width; ++k) sum[k] += dy[k] / divisor;
      }
    }
    store_rounded(dinput + static_cast<std::int64_t>(i) * width, sum);
  }
}

Pool in_32_bits(const Pool2dGeometry& g) {
  check_index_size("the pixels of an image", std::max(g.H * g.W, g.out_height * g.out_width));
  check_index_size("the channels of an image", g.C);
  return Pool(g);
}

/// Elements of the input and of the output.
std::int64_t input_elements(const Pool2dGeometry& g) { return g.N * g.H * g.W * g.C; }
std::int64_t output_elements(const Pool2dGeometry& g) {
  return g.N * g.out_height * g.out_width * g.C;
}

/// What a pooling of elements of T must move and add, and 8 bytes an output for indices.
template <class T>
Work pool_work(const Pool2dGeometry& g, bool with_index) {
  const double x = static_cast<double>(input_elements(g));
  const double y = static_cast<double>(output_elements(g));
  return {.bytes = (x + y) * sizeof(T) + (with_index ? 8 * y : 0),
          .flops = y * static_cast<double>(g.kernel.height * g.kernel.width)};
}

/// Calls function.operator()<width, Index>() with the channels that a thread of a kernel with
/// `elements` results takes of the arrays.
template <class T, class Function, class... Arrays>
void with_width_and_index(const Pool2dGeometry& g, std::int64_t elements, const Function& function,
                          const Arrays*... arrays) {
  with_index(elements, [&]<class Index>(Index) {
    with_vector_size<T>(
        g.C, [&]<int width>() { function.template operator()<width, Index>(); }, arrays...);
  });
}

}  // namespace

template <class T>
void max_pool2d(const T* input, T* output, std::int64_t* index, const Pool2dGeometry& g) {
  const std::int64_t n = output_elements(g);
  if (n == 0) return;
  with_width_and_index<T>(
      g, n,
      [&]<int width, class Index>() {
        launch("max_pool2d", max_pool2d_kernel<width, Index, T>, one_thread_each(n / width),
               pool_work<T>(g, true), input, output, index, in_32_bits(g), n / width);
      },
      input, output, index);
}

template <class T>
void max_pool2d_backward(const T* doutput, const std::int64_t* index, T* dinput,
                         const Pool2dGeometry& g) {
  const std::int64_t n = input_elements(g);
  if (n == 0) return;
  with_width_and_index<T>(
      g, n,
      [&]<int width, class Index>() {
        launch("max_pool2d_backward", max_pool2d_backward_kernel<width, Index, T>,
               one_thread_each(n / width), pool_work<T>(g, true), doutput, index, dinput,
               in_32_bits(g), n / width);
      },
      doutput, dinput);
}

template <class T>
void avg_pool2d(const T* input, T* output, const Pool2dGeometry& g) {
  const std::int64_t n = output_elements(g);
  if (n == 0) return;
  with_width_and_index<T>(
      g, n,
      [&]<int width, class Index>() {
        launch("avg_pool2d", avg_pool2d_kernel<width, Index, T>, one_thread_each(n / width),
               pool_work<T>(g, false), input, output, in_32_bits(g), n / width);
      },
      input, output);
}

template <class T>
void avg_pool2d_backward(const T* doutput, T* dinput, const Pool2dGeometry& g) {
  const std::int64_t n = input_elements(g);
  if (n == 0) return;
  with_width_and_index<T>(
      g, n,
      [&]<int width, class Index>() {
        launch("avg_pool2d_backward", avg_pool2d_backward_kernel<width, Index, T>,
               one_thread_each(n / width), pool_work<T>(g, false), doutput, dinput, in_32_bits(g),
               n / width);
      },
      doutput, dinput);
}

GRADUS_INSTANTIATE_FLOATS(max_pool2d)
GRADUS_INSTANTIATE_FLOATS(max_pool2d_backward)
GRADUS_INSTANTIATE_FLOATS(avg_pool2d)
GRADUS_INSTANTIATE_FLOATS(avg_pool2d_backward)

}  // namespace gradus::cuda
