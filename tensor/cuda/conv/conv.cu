// Convolution as matrix products. Which way depends on its geometry:
// - 1x1, stride 1: the input is the column matrix already; one product.
// - 3x3 with stride 1 or 2 and 1x1 with stride 2, in bfloat16 or TF32, channels in multiples of 64:
//   one kernel that gathers the columns while it multiplies them (implicit_gemm.h).
// - 3x3 of 3 channels, images, in these types: likewise (implicit_gemm_three_channels.h).
// - 3x3, stride 1, not in bfloat16: Winograd's F(4x4, 3x3) (winograd.h), with 4 times fewer
//   multiplications.
// - the rest: the column matrix (im2col.cuh) is written chunk by chunk to scratch that stays in the
//   second-level cache, and multiplied there.
// Sums over chunks are made in order, so that results repeat bit by bit.
//
// bfloat16 does not take Winograd's way: rounding the transformed tiles to bfloat16 gives an error
// of 1.0e-2 (root mean square, relative to float64, 64 to 512 channels),
// against 1.7e-3 of products of the columns, which is the rounding of the inputs themselves. In
// TF32 Winograd's error is 1.2e-3 against 2e-4.
#include <algorithm>

#include "tensor/backend/instantiate.h"
#include "tensor/cuda/conv/im2col.cuh"
#include "tensor/cuda/conv/implicit_gemm.h"
#include "tensor/cuda/conv/implicit_gemm_three_channels.h"
#include "tensor/cuda/conv/winograd.h"
#include "tensor/cuda/gemm/gemm.h"
#include "tensor/cuda/runtime/launch.h"

namespace gradus::cuda {
namespace {

std::int64_t image_pixels(const Conv2dGeometry& g) { return g.out_height * g.out_width; }
std::int64_t weights_of(const Conv2dGeometry& g) { return g.O * g.columns(); }

/// Rows of scratch, `row_bytes` each, that fit in half of the second-level cache; the `rows` in all
/// are cut evenly, and at most `most` are taken at once.
std::int64_t rows_per_chunk(std::int64_t rows, std::int64_t row_bytes, std::int64_t most) {
  const auto half_cache = static_cast<std::int64_t>(l2_bytes() / 2);
  const std::int64_t fit = std::clamp<std::int64_t>(half_cache / row_bytes, 1, most);
  return divide_up(rows, divide_up(rows, fit));
}

template <class T>
constexpr bool has_tensor_cores = std::is_same_v<T, BFloat16> || std::is_same_v<T, float>;

/// Whether a convolution of these arrays, the first being of activations, goes by implicit GEMM.
template <class T, class... Others>
bool by_implicit_gemm(const Conv2dGeometry& g, const T* first, const Others*... others) {
  return (std::is_same_v<T, BFloat16> || tf32_allowed()) && aligned_to_vectors(first, others...) &&
         implicit_gemm::suits(g);
}

/// Whether one of images does, whose other array is `output` or its gradient.
template <class T>
bool by_implicit_gemm_of_images(const Conv2dGeometry& g, const T* output) {
  return (std::is_same_v<T, BFloat16> || tf32_allowed()) && aligned_to_vectors(output) &&
         implicit_gemm::three_channels::suits(g);
}

/// Elements of a row of the column matrix: g.columns(), and zeros up to a multiple of 16 bytes;
/// none where the matrix is the input itself.
template <class T>
std::int64_t column_stride(const Conv2dGeometry& g) {
  const std::int64_t columns = g.columns();
  return g.is_pointwise() ? columns : round_up(columns, vector_size<T>);
}

/// y [rows, to] = x [rows, from]: cut, or filled up with zeros.
template <class From, class To>
void resize_rows(const From* x, To* y, std::int64_t rows, std::int64_t from, std::int64_t to) {
  const auto bytes = static_cast<double>(rows) * (static_cast<double>(from) * sizeof(From) +
                                                  static_cast<double>(to) * sizeof(To));
  launch("conv rows resized", resize_rows_kernel<From, To>, one_thread_each(rows * to),
         {.bytes = bytes}, x, y, rows, from, to);
}

/// The weight [O, stride] as the products take it: in the type of their inputs, with zeros behind
/// its g.columns() columns. The weight itself where it is that already.
template <class T>
class ProductWeight {
 public:
  ProductWeight(const Compute<T>* weight, const Conv2dGeometry& g, std::int64_t stride)
      : made_(is_made(g, stride) ? g.O * stride : 0) {
    if constexpr (std::is_same_v<T, Compute<T>>) data_ = weight;
    if (!is_made(g, stride)) return;
    resize_rows(weight, made_.data(), g.O, g.columns(), stride);
    data_ = made_.data();
  }
  const T* data() const { return data_; }

 private:
  static bool is_made(const Conv2dGeometry& g, std::int64_t stride) {
    return !std::is_same_v<T, Compute<T>> || stride > g.columns();
  }
  Scratch<T> made_;
  const T* data_ = nullptr;
};

/// columns [pixels, column_stride(g)] of output pixels first_pixel and on.
template <class T>
void im2col(const T* input, T* columns, const Conv2dGeometry& g, std::int64_t group,
            std::int64_t first_pixel, std::int64_t pixels) {
  const std::int64_t stride = column_stride<T>(g), elements = pixels * stride;
  // Each input element that the pixels read counts once.
  const double read =
      std::min(static_cast<double>(elements),
               static_cast<double>(g.N * g.H * g.W * (g.C / g.groups)) *
                   static_cast<double>(pixels) / static_cast<double>(g.output_pixels()));
  const Work work{.bytes = read * sizeof(T),
                  .cached_bytes = static_cast<double>(elements) * sizeof(T)};
  constexpr int size = vector_size<T>;
  const LaunchShape shape = one_thread_each(elements / size);
  const auto count = static_cast<unsigned>(pixels);
  if (g.C / g.groups % size == 0 && aligned_to_vectors(input)) {
    launch("im2col", im2col_kernel<T, size>, shape, work, input, columns, g, group, first_pixel,
           count);
  } else {
    launch("im2col", im2col_gather_kernel<T, size>, shape, work, input, columns, g, group,
           first_pixel, count, static_cast<unsigned>(stride / size));
  }
}

/// dinput of whole images from their columns.
template <class T>
void col2im(const T* columns, T* dinput, const Conv2dGeometry& g, std::int64_t group,
            std::int64_t images) {
  const std::int64_t channels = g.C / g.groups;
  const Work work{
      .bytes = static_cast<double>(images * g.H * g.W * channels) * sizeof(T),
      .cached_bytes = static_cast<double>(images * image_pixels(g) * g.columns()) * sizeof(T)};
  with_vector_size<T>(
      channels,
      [&]<int size>() {
        LaunchShape shape = one_thread_each(g.H * g.W * (channels / size));
        shape.grid.y = static_cast<unsigned>(images);
        launch("col2im", col2im_kernel<T, size>, shape, work, columns, dinput, g, group);
      },
      dinput);
}

/// A chunk of the column matrix: in place where it is the input itself, otherwise scratch.
template <class T>
struct Columns {
  const T* data;
  std::int64_t stride;  // between rows
  std::int64_t first_pixel, pixels;
  bool cached;
};

/// Calls function(columns, group) for each chunk of output pixels and each group.
template <class T, class Function>
void for_each_chunk(const T* input, const Conv2dGeometry& g, const Function& function) {
  const std::int64_t pixels = g.output_pixels(), stride = column_stride<T>(g);
  if (g.is_pointwise()) {
    for (std::int64_t group = 0; group < g.groups; ++group) {
      function(Columns<T>{input + group * stride, g.C, 0, pixels, false}, group);
    }
    return;
  }
  check_index_size("the weights of an output channel", stride);
  check_index_size("the pixels of an image", std::max(g.H * g.W, image_pixels(g)));
  const std::int64_t most = ((std::int64_t{1} << 31) - 1) / stride;
  const std::int64_t chunk =
      rows_per_chunk(pixels, stride * static_cast<std::int64_t>(sizeof(T)), most);
  const Scratch<T> scratch(chunk * stride);
  for (std::int64_t first = 0; first < pixels; first += chunk) {
    const std::int64_t count = std::min(chunk, pixels - first);
    for (std::int64_t group = 0; group < g.groups; ++group) {
      im2col(input, scratch.data(), g, group, first, count);
      function(Columns<T>{scratch.data(), stride, first, count, true}, group);
    }
  }
}

/// dinput = the adjoint of im2col of doutput weight, for some images at a time.
template <class T>
void backward_input_by_columns(const T* doutput, const T* weight, T* dinput,
                               const Conv2dGeometry& g) {
  const std::int64_t columns = g.columns(), outputs = g.O / g.groups;
  check_index_size("the weights of an output channel", columns);
  check_index_size("the elements of an image", std::max(g.H * g.W * g.C, image_pixels(g)));
  constexpr std::int64_t largest_grid = 65535;
  const std::int64_t chunk = rows_per_chunk(
      g.N, image_pixels(g) * columns * static_cast<std::int64_t>(sizeof(T)), largest_grid);
  const Scratch<T> scratch(chunk * image_pixels(g) * columns);
  for (std::int64_t first = 0; first < g.N; first += chunk) {
    const std::int64_t images = std::min(chunk, g.N - first);
    for (std::int64_t group = 0; group < g.groups; ++group) {
      gemm("conv backward input product",
           {.m = images * image_pixels(g),
            .n = columns,
            .k = outputs,
            .lda = g.O,
            .ldb = columns,
            .ldc = columns,
            .b_cached = first > 0,
            .c_cached = true},
           doutput + first * image_pixels(g) * g.O + group * outputs,
           weight + group * outputs * columns, scratch.data());
      col2im(scratch.data(), dinput + first * g.H * g.W * g.C, g, group, images);
    }
  }
}

}  // namespace

template <class T>
void conv2d(const T* input, const Compute<T>* weight, const Compute<T>* bias, T* output,
            const Conv2dGeometry& g) {
  if (g.N == 0) return;
  if constexpr (has_tensor_cores<T>) {
    if (by_implicit_gemm(g, input, output)) {
      return implicit_gemm::conv2d(input, weight, bias, output, g);
    }
    if (by_implicit_gemm_of_images(g, output)) {
      return implicit_gemm::three_channels::conv2d(input, weight, bias, output, g);
    }
  }
  if constexpr (!std::is_same_v<T, BFloat16>) {
    if (winograd::suits(g)) return winograd::conv2d(input, weight, bias, output, g);
  }
  const std::int64_t outputs = g.O / g.groups, stride = column_stride<T>(g);
  const ProductWeight<T> w(weight, g, stride);
  for_each_chunk(input, g, [&](const Columns<T>& columns, std::int64_t group) {
    T* y = output + columns.first_pixel * g.O;
    gemm("conv product",
         {.m = columns.pixels,
          .n = outputs,
          .k = stride,
          .transpose_b = true,
          .lda = columns.stride,
          .ldb = stride,
          .ldc = g.O,
          .a_cached = columns.cached,
          .b_cached = columns.first_pixel > 0},
         columns.data, w.data() + group * outputs * stride, y + group * outputs);
    if (bias && group == g.groups - 1) {
      const auto elements = static_cast<double>(columns.pixels * g.O);
      launch("conv bias", add_bias_kernel<T>, one_thread_each(columns.pixels * g.O),
             {.bytes = 2 * elements * sizeof(T)}, bias, y, columns.pixels, g.O);
    }
  });
}

template <class T>
void conv2d_with_statistics(const T* input, const Compute<T>* weight, T* output, Compute<T>* mean,
                            Compute<T>* variance, const Conv2dGeometry& g) {
  if constexpr (has_tensor_cores<T>) {
    if (by_implicit_gemm(g, input, output)) {
      return implicit_gemm::conv2d(input, weight, nullptr, output, g, {mean, variance});
    }
    if (by_implicit_gemm_of_images(g, output)) {
      return implicit_gemm::three_channels::conv2d(
          input, weight, static_cast<const float*>(nullptr), output, g, {mean, variance});
    }
  }
  conv2d(input, weight, static_cast<const Compute<T>*>(nullptr), output, g);
  batch_norm_statistics(output, mean, variance, g.output_pixels(), g.O);
}

template <class T>
void conv2d_backward_input(const T* doutput, const Compute<T>* weight, T* dinput,
                           const Conv2dGeometry& g) {
  if (g.N * g.H * g.W == 0) return;
  if constexpr (has_tensor_cores<T>) {
    if (by_implicit_gemm(g, doutput, dinput)) {
      return implicit_gemm::conv2d_backward_input(doutput, weight, dinput, g);
    }
  }
  if constexpr (!std::is_same_v<T, BFloat16>) {
    if (winograd::suits(g)) return winograd::conv2d_backward_input(doutput, weight, dinput, g);
  }
  const ProductWeight<T> w(weight, g, g.columns());
  if (!g.is_pointwise()) return backward_input_by_columns(doutput, w.data(), dinput, g);
  const std::int64_t outputs = g.O / g.groups, channels = g.C / g.groups;
  for (std::int64_t group = 0; group < g.groups; ++group) {
    gemm("conv backward input product",
         {.m = g.output_pixels(),
          .n = channels,
          .k = outputs,
          .lda = g.O,
          .ldb = channels,
          .ldc = g.C},
         doutput + group * outputs, w.data() + group * outputs * channels,
         dinput + group * channels);
  }
}

template <class T>
void conv2d_backward_weight(const T* input, const T* doutput, Compute<T>* dweight,
                            const Conv2dGeometry& g) {
  if (g.N == 0) return fill(dweight, Compute<T>(0), weights_of(g));
  if constexpr (has_tensor_cores<T>) {
    if (by_implicit_gemm(g, input, doutput)) {
      return implicit_gemm::conv2d_backward_weight(input, doutput, dweight, g);
    }
    if (by_implicit_gemm_of_images(g, doutput)) {
      return implicit_gemm::three_channels::conv2d_backward_weight(input, doutput, dweight, g);
    }
  }
  if constexpr (!std::is_same_v<T, BFloat16>) {
    if (winograd::suits(g)) return winograd::conv2d_backward_weight(input, doutput, dweight, g);
  }
  const std::int64_t outputs = g.O / g.groups, stride = column_stride<T>(g);
  const bool padded = stride > g.columns();
  const Scratch<Compute<T>> with_padding(padded ? g.O * stride : 0);
  Compute<T>* const result = padded ? with_padding.data() : dweight;
  for_each_chunk(input, g, [&](const Columns<T>& columns, std::int64_t group) {
    gemm("conv weight product",
         {.m = outputs,
          .n = stride,
          .k = columns.pixels,
          .transpose_a = true,
          .lda = g.O,
          .ldb = columns.stride,
          .ldc = stride,
          .beta = columns.first_pixel == 0 ? 0.0 : 1.0,
          .b_cached = columns.cached,
          .c_cached = columns.cached},
         doutput + columns.first_pixel * g.O + group * outputs, columns.data,
         result + group * outputs * stride);
  });
  if (padded) resize_rows(result, dweight, g.O, stride, g.columns());
}

GRADUS_INSTANTIATE_FLOATS(conv2d)
GRADUS_INSTANTIATE_FLOATS(conv2d_backward_input)
GRADUS_INSTANTIATE_FLOATS(conv2d_backward_weight)
GRADUS_INSTANTIATE_FLOATS(conv2d_with_statistics)

}  // namespace gradus::cuda
