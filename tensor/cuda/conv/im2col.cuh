// The matrix view of a convolution: one row an output pixel (n, p, q), one column a kernel tap and
// a channel (r, s, c) of one group, so that output = columns weight^T. Rows end with zeros up to a
// multiple of 16 bytes, without which the tensor cores' products are slow. Internal to tensor/cuda.
//
// A launch handles the pixels of a chunk, so that its items fit in 32 bits.
#pragma once

#include "tensor/backend/geometry.h"
#include "tensor/cuda/index.h"
#include "tensor/cuda/shared_array.h"

namespace gradus::cuda {

// columns [pixels, kH, kW, C / groups] from input [N, H, W, C], for output pixels first_pixel and
// on; zero where a tap lies in the padding. A thread copies `size` channels of one tap.
template <class T, int size>
__global__ void im2col_kernel(const T* input, T* columns, Conv2dGeometry g, std::int64_t group,
                              std::int64_t first_pixel, unsigned pixels) {
  const auto kernel_height = static_cast<unsigned>(g.kernel.height);
  const auto kernel_width = static_cast<unsigned>(g.kernel.width);
  const auto channels = static_cast<unsigned>(g.C / g.groups);
  const auto out_width = static_cast<unsigned>(g.out_width);
  const auto out_pixels = static_cast<unsigned>(g.out_height) * out_width;  // of an image
  const unsigned vectors = channels / size;
  const unsigned items = pixels * kernel_height * kernel_width * vectors;
  const std::int64_t first_image = first_pixel / out_pixels;
  const auto first_in_image = static_cast<unsigned>(first_pixel % out_pixels);
  for (unsigned item = blockIdx.x * blockDim.x + threadIdx.x; item < items;
       item += gridDim.x * blockDim.x) {
    unsigned rest = item / vectors;
    const unsigned c = item % vectors * size;
    const unsigned s = rest % kernel_width;
    rest /= kernel_width;
    const unsigned r = rest % kernel_height;
    const unsigned pixel = first_in_image + rest / kernel_height;
    const unsigned in_image = pixel % out_pixels;
    const std::int64_t n = first_image + pixel / out_pixels;
    const std::int64_t p = in_image / out_width, q = in_image % out_width;
    const std::int64_t h = p * g.stride.height - g.padding.height + r * g.dilation.height;
    const std::int64_t w = q * g.stride.width - g.padding.width + s * g.dilation.width;
    Vector<T, size> x{};
    if (h >= 0 && h < g.H && w >= 0 && w < g.W) {
      x = load_vector<size>(input + ((n * g.H + h) * g.W + w) * g.C + group * channels + c);
    }
    store_vector(columns + std::int64_t{item} * size, x);
  }
}

// The same where taps are no whole vectors: a thread gathers `size` columns of a row, element by
// element. columns [pixels, vectors * size].
template <class T, int size>
__global__ void im2col_gather_kernel(const T* input, T* columns, Conv2dGeometry g,
                                     std::int64_t group, std::int64_t first_pixel, unsigned pixels,
                                     unsigned vectors) {
  const auto kernel_width = static_cast<unsigned>(g.kernel.width);
  const auto channels = static_cast<unsigned>(g.C / g.groups);
  const unsigned count = static_cast<unsigned>(g.kernel.height) * kernel_width * channels;
  const auto out_width = static_cast<unsigned>(g.out_width);
  const auto out_pixels = static_cast<unsigned>(g.out_height) * out_width;  // of an image
  for (unsigned item = blockIdx.x * blockDim.x + threadIdx.x; item < pixels * vectors;
       item += gridDim.x * blockDim.x) {
    const std::int64_t pixel = first_pixel + item / vectors;
    const auto in_image = static_cast<unsigned>(pixel % out_pixels);
    const std::int64_t h0 = in_image / out_width * g.stride.height - g.padding.height;
    const std::int64_t w0 = in_image % out_width * g.stride.width - g.padding.width;
    const T* const image = input + pixel / out_pixels * g.H * g.W * g.C + group * channels;
    Vector<T, size> x{};
    for (int e = 0; e < size; ++e) {
      const unsigned column = item % vectors * size + static_cast<unsigned>(e);
      const unsigned tap = column / channels;
      const std::int64_t h = h0 + tap / kernel_width * g.dilation.height;
      const std::int64_t w = w0 + tap % kernel_width * g.dilation.width;
      if (column < count && h >= 0 && h < g.H && w >= 0 && w < g.W) {
        x[e] = image[(h * g.W + w) * g.C + column % channels];
      }
    }
    store_vector(columns + std::int64_t{item} * size, x);
  }
}

// y [rows, to] = x [rows, from]: what is over is left out, what is missing is zero.
template <class From, class To>
__global__ void resize_rows_kernel(const From* x, To* y, std::int64_t rows, std::int64_t from,
                                   std::int64_t to) {
  for (auto i = first_index<std::int64_t>(); i < rows * to; i += index_stride<std::int64_t>()) {
    const std::int64_t column = i % to;
    y[i] = column < from ? static_cast<To>(x[i / to * from + column]) : To{};
  }
}

/// The output position that reads input position x through a tap at `tap_offset`, or -1.
__device__ inline std::int64_t output_position(std::int64_t x, std::int64_t tap_offset,
                                               std::int64_t padding, std::int64_t stride,
                                               std::int64_t positions) {
  const std::int64_t shifted = x + padding - tap_offset;
  if (shifted < 0) return -1;
  // Sizes of images fit in 32 bits, whose division is far cheaper.
  const std::int64_t y = static_cast<unsigned>(shifted) / static_cast<unsigned>(stride);
  return y < positions && y * stride == shifted ? y : -1;
}

// The adjoint of im2col, for whole images: dinput [gridDim.y, H, W, C] of one group from
// columns [gridDim.y, P, Q, kH, kW, C / groups]. A thread gathers `size` channels of one input
// pixel, over the taps in order: no atomics, and the same sum each time.
template <class T, int size>
__global__ void col2im_kernel(const T* columns, T* dinput, Conv2dGeometry g, std::int64_t group) {
  const auto channels = static_cast<unsigned>(g.C / g.groups);
  const auto W = static_cast<unsigned>(g.W);
  const unsigned vectors = channels / size;
  const unsigned items = static_cast<unsigned>(g.H) * W * vectors;  // of an image
  const std::int64_t n = blockIdx.y;
  const std::int64_t taps = g.kernel.height * g.kernel.width;
  for (unsigned item = blockIdx.x * blockDim.x + threadIdx.x; item < items;
       item += gridDim.x * blockDim.x) {
    const unsigned c = item % vectors * size, pixel = item / vectors;
    const std::int64_t h = pixel / W, w = pixel % W;
    Vector<Compute<T>, size> sum{};
    for (std::int64_t r = 0; r < g.kernel.height; ++r) {
      const std::int64_t p = output_position(h, r * g.dilation.height, g.padding.height,
                                             g.stride.height, g.out_height);
      if (p < 0) continue;
      for (std::int64_t s = 0; s < g.kernel.width; ++s) {
        const std::int64_t q =
            output_position(w, s * g.dilation.width, g.padding.width, g.stride.width, g.out_width);
        if (q < 0) continue;
        const std::int64_t row = (n * g.out_height + p) * g.out_width + q;
        const std::int64_t column = (r * g.kernel.width + s) * channels + c;
        const Vector<T, size> dx = load_vector<size>(columns + row * taps * channels + column);
        for (int e = 0; e < size; ++e) sum[e] += static_cast<Compute<T>>(dx[e]);
      }
    }
    Vector<T, size> result;
    for (int e = 0; e < size; ++e) result[e] = static_cast<T>(sum[e]);
    store_vector(dinput + ((n * g.H + h) * g.W + w) * g.C + group * channels + c, result);
  }
}

// y [rows, O] += bias [O]
template <class T>
__global__ void add_bias_kernel(const Compute<T>* bias, T* y, std::int64_t rows, std::int64_t O) {
  for (auto i = first_index<std::int64_t>(); i < rows * O; i += index_stride<std::int64_t>()) {
    y[i] = static_cast<T>(static_cast<Compute<T>>(y[i]) + bias[i % O]);
  }
}

}  // namespace gradus::cuda
