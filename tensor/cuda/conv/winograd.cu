#include "tensor/cuda/conv/winograd.h"

#include <utility>

#include "tensor/backend/instantiate.h"
#include "tensor/cuda/conv/winograd_tiles.cuh"
#include "tensor/cuda/gemm/gemm.h"
#include "tensor/cuda/index.h"
#include "tensor/cuda/runtime/launch.h"
#include "tensor/cuda/shared_array.h"

namespace gradus::cuda::winograd {

using gradus::winograd::nonzeros;
using gradus::winograd::Transposed;
using F = gradus::winograd::Filtering;
using InputMatrix = F::InputMatrix;
using OutputMatrix = F::OutputMatrix;
using WeightMatrix = F::WeightMatrix;
constexpr int taps = F::taps, tile_side = F::tile_side, frequencies = F::frequencies;

namespace {

// --- Y = L X L^T, in registers --------------------------------------------------------------

/// function(0), ..., function(count - 1), with arguments that are constants to the compiler.
template <int count, class Function>
__device__ __forceinline__ void unroll(const Function& function) {
  [&]<int... i>(std::integer_sequence<int, i...>) {
    (function(std::integral_constant<int, i>{}), ...);
  }
  (std::make_integer_sequence<int, count>{});
}

/// Row `row` of L times a column of vectors x.
template <class L, int row, class T, int size>
__device__ __forceinline__ Vector<T, size> row_product(const Vector<T, size> (&x)[L::columns]) {
  Vector<T, size> y;
  unroll<size>([&](auto e) { y[e] = 0; });
  unroll<L::columns>([&](auto j) {
    constexpr double factor = L::at(row, j);
    if constexpr (factor != 0) {
      unroll<size>([&](auto e) { y[e] += static_cast<T>(factor) * x[j][e]; });
    }
  });
  return y;
}

/// Y = L X L^T, each element a vector of channels: load(i, j) gives X's, store(i, j, y) takes Y's.
template <class L, class T, int size, class Load, class Store>
__device__ __forceinline__ void transform(const Load& load, const Store& store) {
  Vector<T, size> half[L::rows][L::columns];  // L X
  unroll<L::columns>([&](auto j) {
    Vector<T, size> x[L::columns];
    unroll<L::columns>([&](auto i) { x[i] = load(i, j); });
    unroll<L::rows>([&](auto i) { half[i][j] = row_product<L, i>(x); });
  });
  unroll<L::rows>(
      [&](auto i) { unroll<L::rows>([&](auto j) { store(i, j, row_product<L, j>(half[i])); }); });
}

/// Multiply-adds of a transform, each counted as two.
template <class L>
constexpr double transform_flops = 2.0 * nonzeros<L>() * (L::rows + L::columns);

// --- tiles of images ------------------------------------------------------------------------

constexpr int block_size = 128;

// transformed [36, count, C] = L X L^T of each tile X of images [?, H, W, C], zero outside of them.
// L is B^T for inputs (tiles of 6x6) and A for gradients of outputs (4x4). A thread takes one tile
// and `size` channels.
template <class L, class T, int size>
__global__ void __launch_bounds__(block_size)
    transform_tiles_kernel(const T* images, T* transformed, Tiles tiles) {
  const auto vectors = static_cast<unsigned>(tiles.C / size);
  const unsigned items = tiles.count * vectors;
  for (unsigned item = blockIdx.x * blockDim.x + threadIdx.x; item < items;
       item += gridDim.x * blockDim.x) {
    const unsigned tile = item / vectors;
    const std::int64_t c = std::int64_t{item % vectors} * size;
    const auto [n, h0, w0] = place_of(tiles, tile);
    const T* image = images + n * tiles.H * tiles.W * tiles.C + c;
    T* to = transformed + tile * tiles.C + c;
    const std::int64_t H = tiles.H, W = tiles.W, C = tiles.C;
    const std::int64_t top = h0, left = w0, frequency_stride = tiles.count * tiles.C;
    transform<L, T, size>(
        [&](int i, int j) {
          const std::int64_t h = top + i, w = left + j;
          Vector<T, size> x{};
          if (h >= 0 && h < H && w >= 0 && w < W) x = load_vector<size>(image + (h * W + w) * C);
          return x;
        },
        [&](int i, int j, const Vector<T, size>& y) {
          store_vector(to + (i * L::rows + j) * frequency_stride, y);
        });
  }
}

// images [?, H, W, C] = A^T X A + bias of each tile X of transformed [36, count, C]; what lies
// outside of the images is dropped. bias [C] or null. A thread takes one tile and `size` channels.
// (Doubles need more registers than the compiler grants for more than one block.)
template <class T, int size>
__global__ void __launch_bounds__(block_size, std::is_same_v<T, double> ? 1 : 0)
    restore_tiles_kernel(const T* transformed, const T* bias, T* images, Tiles tiles) {
  const auto vectors = static_cast<unsigned>(tiles.C / size);
  const unsigned items = tiles.count * vectors;
  for (unsigned item = blockIdx.x * blockDim.x + threadIdx.x; item < items;
       item += gridDim.x * blockDim.x) {
    const unsigned tile = item / vectors;
    const std::int64_t c = std::int64_t{item % vectors} * size;
    const auto [n, h0, w0] = place_of(tiles, tile);
    T* image = images + n * tiles.H * tiles.W * tiles.C + c;
    const T* from = transformed + tile * tiles.C + c;
    const std::int64_t H = tiles.H, W = tiles.W, C = tiles.C;
    const std::int64_t top = h0, left = w0, frequency_stride = tiles.count * tiles.C;
    Vector<T, size> shift{};
    if (bias) shift = load_vector<size>(bias + c);
    transform<OutputMatrix, T, size>(
        [&](int i, int j) {
          return load_vector<size>(from + (i * tile_side + j) * frequency_stride);
        },
        [&](int i, int j, Vector<T, size> y) {
          const std::int64_t h = top + i, w = left + j;
          if (h >= H || w >= W) return;
          unroll<size>([&](auto e) { y[e] += shift[e]; });
          store_vector(image + (h * W + w) * C, y);
        });
  }
}

// --- weights ----------------------------------------------------------------------------------

// transformed [36, O, C] = G g G^T of each filter g of weight [O, 3, 3, C], rotated by half a turn
// where `rotate` says so. A thread takes one output channel and `size` input channels.
template <class T, int size>
__global__ void __launch_bounds__(block_size)
    transform_weight_kernel(const T* weight, T* transformed, bool rotate, std::int64_t O,
                            std::int64_t C) {
  const std::int64_t vectors = C / size;
  for (auto item = first_index<std::int64_t>(); item < O * vectors;
       item += index_stride<std::int64_t>()) {
    const std::int64_t o = item / vectors, c = item % vectors * size;
    const T* from = weight + o * taps * taps * C + c;
    T* to = transformed + o * C + c;
    transform<WeightMatrix, T, size>(
        [&](int r, int s) {
          const int tap = r * taps + s;
          return load_vector<size>(from + (rotate ? taps * taps - 1 - tap : tap) * C);
        },
        [&](int i, int j, const Vector<T, size>& u) {
          store_vector(to + (i * tile_side + j) * O * C, u);
        });
  }
}

// dweight [O, 3, 3, C] = G^T X G of transformed [36, O, C].
template <class T, int size>
__global__ void __launch_bounds__(block_size)
    restore_weight_kernel(const T* transformed, T* dweight, std::int64_t O, std::int64_t C) {
  const std::int64_t vectors = C / size;
  for (auto item = first_index<std::int64_t>(); item < O * vectors;
       item += index_stride<std::int64_t>()) {
    const std::int64_t o = item / vectors, c = item % vectors * size;
    const T* from = transformed + o * C + c;
    T* to = dweight + o * taps * taps * C + c;
    transform<Transposed<WeightMatrix>, T, size>(
        [&](int i, int j) { return load_vector<size>(from + (i * tile_side + j) * O * C); },
        [&](int r, int s, const Vector<T, size>& y) { store_vector(to + (r * taps + s) * C, y); });
  }
}

// --- launchers --------------------------------------------------------------------------------

template <class T>
Work tile_work(double elements_in_memory, double elements_cached, double flops) {
  return {.bytes = elements_in_memory * sizeof(T),
          .cached_bytes = elements_cached * sizeof(T),
          .flops = flops,
          .unit = std::is_same_v<T, double> ? Unit::fp64 : Unit::fp32};
}

/// transformed [36, count, C] from the tiles [first, first + count) of images.
template <class L, class T>
void transform_tiles(const char* name, const T* images, T* transformed, const Chunks& chunks,
                     const Images& shape, std::int64_t first, std::int64_t count) {
  const auto items = static_cast<double>(count * shape.C);
  with_vector_size<T>(
      shape.C,
      [&]<int size>() {
        launch(name, transform_tiles_kernel<L, T, size>,
               one_thread_each(count * (shape.C / size), block_size),
               tile_work<T>(items * output_side * output_side, items * frequencies,
                            items * transform_flops<L>),
               images + chunks.offset(shape, first), transformed, chunks.run(shape, first, count));
      },
      images, transformed);
}

template <class T>
void restore_tiles(const T* transformed, const T* bias, T* images, const Chunks& chunks,
                   const Images& shape, std::int64_t first, std::int64_t count) {
  const auto items = static_cast<double>(count * shape.C);
  with_vector_size<T>(
      shape.C,
      [&]<int size>() {
        launch("winograd output", restore_tiles_kernel<T, size>,
               one_thread_each(count * (shape.C / size), block_size),
               tile_work<T>(items * output_side * output_side, items * frequencies,
                            items * transform_flops<OutputMatrix>),
               transformed, bias, images + chunks.offset(shape, first),
               chunks.run(shape, first, count));
      },
      transformed, bias, images);
}

template <class T>
void transform_weight(const T* weight, T* transformed, bool rotate, std::int64_t O,
                      std::int64_t C) {
  const auto items = static_cast<double>(O * C);
  with_vector_size<T>(
      C,
      [&]<int size>() {
        launch("winograd weight", transform_weight_kernel<T, size>,
               one_thread_each(O * (C / size), block_size),
               tile_work<T>(items * taps * taps, items * frequencies,
                            items * transform_flops<WeightMatrix>),
               weight, transformed, rotate, O, C);
      },
      weight, transformed);
}

template <class T>
void restore_weight(const T* transformed, T* dweight, std::int64_t O, std::int64_t C) {
  const auto items = static_cast<double>(O * C);
  with_vector_size<T>(
      C,
      [&]<int size>() {
        launch("winograd weight gradient", restore_weight_kernel<T, size>,
               one_thread_each(O * (C / size), block_size),
               tile_work<T>(items * taps * taps, items * frequencies,
                            items * transform_flops<Transposed<WeightMatrix>>),
               transformed, dweight, O, C);
      },
      transformed, dweight);
}

/// output = input * weight + bias for transformed weights: [36, O, C] (`transposed`), or [36, C,
/// O].
template <class T>
void convolve(const T* input, const T* weight, bool transposed, const T* bias, T* output,
              const Conv2dGeometry& g) {
  const Chunks chunks(g.N, g.out_height, g.out_width,
                      frequencies * (g.C + g.O) * std::int64_t{sizeof(T)});
  const Scratch<T> inputs(frequencies * chunks.size() * g.C);
  const Scratch<T> outputs(frequencies * chunks.size() * g.O);
  chunks.for_each([&](std::int64_t first, std::int64_t count) {
    transform_tiles<InputMatrix>("winograd input", input, inputs.data(), chunks,
                                 {.H = g.H, .W = g.W, .C = g.C, .padding = g.padding}, first,
                                 count);
    gemm("winograd product",
         {.m = count,
          .n = g.O,
          .k = g.C,
          .transpose_b = transposed,
          .lda = g.C,
          .ldb = transposed ? g.C : g.O,
          .ldc = g.O,
          .batch = frequencies,
          .stride_a = count * g.C,
          .stride_b = g.C * g.O,
          .stride_c = count * g.O,
          .a_cached = true,
          .b_cached = true,
          .c_cached = true},
         inputs.data(), weight, outputs.data());
    restore_tiles(outputs.data(), bias, output, chunks,
                  {.H = g.out_height, .W = g.out_width, .C = g.O}, first, count);
  });
}

}  // namespace

bool suits(const Conv2dGeometry& g) {
  constexpr std::int64_t fewest_channels = 16, widest_image = 1 << 16, most_channels = 1 << 14;
  return g.winograd && g.kernel == Size2(taps) && g.stride == Size2(1) && g.dilation == Size2(1) &&
         g.groups == 1 && g.padding.height < taps && g.padding.width < taps &&
         std::min(g.C, g.O) >= fewest_channels && std::max(g.C, g.O) <= most_channels &&
         std::max(g.H, g.W) <= widest_image;
}

template <class T>
void conv2d(const T* input, const T* weight, const T* bias, T* output, const Conv2dGeometry& g) {
  const Scratch<T> transformed(frequencies * g.O * g.C);
  transform_weight(weight, transformed.data(), false, g.O, g.C);
  convolve(input, transformed.data(), true, bias, output, g);
}

template <class T>
void conv2d_backward_input(const T* doutput, const T* weight, T* dinput, const Conv2dGeometry& g) {
  const Scratch<T> transformed(frequencies * g.O * g.C);
  transform_weight(weight, transformed.data(), true, g.O, g.C);
  Conv2dGeometry reverse = g;  // doutput is its input
  std::swap(reverse.H, reverse.out_height);
  std::swap(reverse.W, reverse.out_width);
  std::swap(reverse.C, reverse.O);
  reverse.padding = {taps - 1 - g.padding.height, taps - 1 - g.padding.width};
  convolve(doutput, transformed.data(), false, static_cast<const T*>(nullptr), dinput, reverse);
}

template <class T>
void conv2d_backward_weight(const T* input, const T* doutput, T* dweight, const Conv2dGeometry& g) {
  const Scratch<T> sums(frequencies * g.O * g.C);
  // Each chunk reads and writes the sums, which must not outweigh its tiles.
  const std::int64_t sums_bytes = frequencies * g.O * g.C * std::int64_t{sizeof(T)};
  const Chunks chunks(g.N, g.out_height, g.out_width,
                      frequencies * (g.C + g.O) * std::int64_t{sizeof(T)}, 2 * sums_bytes);
  const Scratch<T> inputs(frequencies * chunks.size() * g.C);
  const Scratch<T> doutputs(frequencies * chunks.size() * g.O);
  chunks.for_each([&](std::int64_t first, std::int64_t count) {
    transform_tiles<InputMatrix>("winograd input", input, inputs.data(), chunks,
                                 {.H = g.H, .W = g.W, .C = g.C, .padding = g.padding}, first,
                                 count);
    transform_tiles<Transposed<OutputMatrix>>(
        "winograd output gradient", doutput, doutputs.data(), chunks,
        {.H = g.out_height, .W = g.out_width, .C = g.O}, first, count);
    gemm("winograd weight product",
         {.m = g.O,
          .n = g.C,
          .k = count,
          .transpose_a = true,
          .lda = g.O,
          .ldb = g.C,
          .ldc = g.C,
          .beta = first == 0 ? 0.0 : 1.0,
          .batch = frequencies,
          .stride_a = count * g.O,
          .stride_b = count * g.C,
          .stride_c = g.O * g.C,
          .a_cached = true,
          .b_cached = true,
          .c_cached = true},
         doutputs.data(), inputs.data(), sums.data());
  });
  restore_weight(sums.data(), dweight, g.O, g.C);
}

GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(conv2d)
GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(conv2d_backward_input)
GRADUS_INSTANTIATE_FLOAT_AND_DOUBLE(conv2d_backward_weight)

}  // namespace gradus::cuda::winograd
