// The matrix view of a convolution: one row an output pixel (n, p, q), one column a kernel tap and
// channel (r, s, c), so that output = columns weight^T. Internal to tensor/cpu/conv.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "tensor/backend/geometry.h"
#include "tensor/cpu/range.h"

namespace gradus::cpu {

/// A block of the column matrix of one channel group: some output pixels, and the taps of some
/// kernel rows.
struct ColumnBlock {
  Range pixels;
  Range kernel_rows;
  std::int64_t group = 0;
};

/// Elements in one row of a block.
inline std::int64_t columns_of(const Conv2dGeometry& g, const Range& kernel_rows) {
  return kernel_rows.size() * g.kernel.width * (g.C / g.groups);
}

/// Calls function(n, p, q) for the parts of rows, output pixels (n, p, q.begin), ..., (n, p,
/// q.end - 1), that a range of output pixels consists of.
template <class Function>
void for_each_row(const Conv2dGeometry& g, const Range& pixels, Function function) {
  for (std::int64_t pixel = pixels.begin; pixel < pixels.end;) {
    const std::int64_t row = pixel / g.out_width, first = row * g.out_width;
    const Range q{pixel - first, std::min(pixels.end - first, g.out_width)};
    function(row / g.out_height, row % g.out_height, q);
    pixel += q.size();
  }
}

/// Calls run(column, input, length) for each contiguous piece of output pixel (n, p, q)'s row of a
/// block, which begins at offset `column` of it: `length` elements at `column` are those at offset
/// `input` of the images, or padding where `input` is negative. The pieces cover the row once, in
/// order.
template <class Run>
void for_each_run(const Conv2dGeometry& g, const ColumnBlock& block, std::int64_t n, std::int64_t p,
                  std::int64_t q, std::int64_t column, Run run) {
  constexpr std::int64_t padding = -1;
  const std::int64_t taps = g.kernel.width;
  const std::int64_t channels = g.C / g.groups;
  const bool taps_adjoin = g.groups == 1 && g.dilation.width == 1;
  const auto emit = [&](std::int64_t input, std::int64_t length) {
    if (length > 0) run(column, input, length);
    column += length;
  };
  const std::int64_t w0 = q * g.stride.width - g.padding.width;
  for (std::int64_t r = block.kernel_rows.begin; r < block.kernel_rows.end; ++r) {
    const std::int64_t h = p * g.stride.height - g.padding.height + r * g.dilation.height;
    const std::int64_t row = (n * g.H + h) * g.W;  // of pixels in the images
    if (h < 0 || h >= g.H) {
      emit(padding, taps * channels);
    } else if (taps_adjoin) {
      const std::int64_t left = std::clamp<std::int64_t>(-w0, 0, taps);
      const std::int64_t right = std::clamp<std::int64_t>(g.W - w0, left, taps);
      emit(padding, left * channels);
      emit((row + w0 + left) * channels, (right - left) * channels);
      emit(padding, (taps - right) * channels);
    } else {
      for (std::int64_t s = 0; s < taps; ++s) {
        const std::int64_t w = w0 + s * g.dilation.width;
        const bool inside = w >= 0 && w < g.W;
        emit(inside ? (row + w) * g.C + block.group * channels : padding, channels);
      }
    }
  }
}

/// Rows of at least `move` elements, copied by moves of that many; the last may overlap the one
/// before it.
template <int move, class T>
void copy_by_moves(const T* from, std::int64_t from_stride, T* to, std::int64_t to_stride,
                   std::int64_t rows, std::int64_t columns) {
  constexpr std::size_t bytes = move * sizeof(T);
  const std::int64_t last = columns - move;
  for (std::int64_t i = 0; i < rows; ++i, from += from_stride, to += to_stride) {
    for (std::int64_t j = 0; j < last; j += move) std::memcpy(to + j, from + j, bytes);
    std::memcpy(to + last, from + last, bytes);
  }
}

/// to [rows, columns] = from. A call of memcpy would take longer than copying a short row does.
template <class T>
void copy_windows(const T* from, std::int64_t from_stride, T* to, std::int64_t to_stride,
                  std::int64_t rows, std::int64_t columns) {
  if (columns >= 64) {
    for (std::int64_t i = 0; i < rows; ++i, from += from_stride, to += to_stride) {
      std::memcpy(to, from, static_cast<std::size_t>(columns) * sizeof(T));
    }
    return;
  }
  if (columns >= 16) return copy_by_moves<16>(from, from_stride, to, to_stride, rows, columns);
  if (columns >= 8) return copy_by_moves<8>(from, from_stride, to, to_stride, rows, columns);
  if (columns >= 3) return copy_by_moves<3>(from, from_stride, to, to_stride, rows, columns);
  if (columns >= 1) return copy_by_moves<1>(from, from_stride, to, to_stride, rows, columns);
}

/// The output pixels of a row whose windows lie within the rows of the images.
inline Range inner_columns(const Conv2dGeometry& g, const Range& q) {
  const auto from = [&](std::int64_t w) {  // the first q with q stride - padding >= w
    return (std::max<std::int64_t>(w + g.padding.width, 0) + g.stride.width - 1) / g.stride.width;
  };
  const std::int64_t begin = std::clamp(from(0), q.begin, q.end);
  return {begin, std::clamp(from(g.W - g.kernel.width + 1), begin, q.end)};
}

/// Copies a block of columns out of the images; columns [pixels, kernel_rows kW C/groups], rows
/// `stride` elements apart.
template <class T>
void im2col(const T* input, T* columns, const Conv2dGeometry& g, const ColumnBlock& block,
            std::int64_t stride) {
  const bool taps_adjoin = g.groups == 1 && g.dilation.width == 1;
  const std::int64_t run = g.kernel.width * g.C;  // of a window's row, where taps adjoin
  for_each_row(g, block.pixels, [&](std::int64_t n, std::int64_t p, const Range& q) {
    const Range inner = taps_adjoin ? inner_columns(g, q) : Range{q.begin, q.begin};
    const auto gather = [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) {
        T* const to = columns + (i - q.begin) * stride;
        for_each_run(g, block, n, p, i, 0, [&](auto column, auto from, auto length) {
          if (from < 0) {
            std::fill_n(to + column, length, T(0.0f));
          } else {
            std::memcpy(to + column, input + from, static_cast<std::size_t>(length) * sizeof(T));
          }
        });
      }
    };
    gather(q.begin, inner.begin);
    T* to = columns + (inner.begin - q.begin) * stride;
    for (std::int64_t r = block.kernel_rows.begin; taps_adjoin && r < block.kernel_rows.end; ++r) {
      const std::int64_t h = p * g.stride.height - g.padding.height + r * g.dilation.height;
      const std::int64_t w = inner.begin * g.stride.width - g.padding.width;
      if (h < 0 || h >= g.H) {
        for (std::int64_t i = 0; i < inner.size(); ++i) std::fill_n(to + i * stride, run, T(0.0f));
      } else {
        copy_windows(input + ((n * g.H + h) * g.W + w) * g.C, g.stride.width * g.C, to, stride,
                     inner.size(), run);
      }
      to += run;
    }
    gather(inner.end, q.end);
    columns += q.size() * stride;
  });
}

/// The adjoint of im2col: adds a block of columns to the images.
template <class T>
void add_col2im(const T* columns, T* dinput, const Conv2dGeometry& g, const ColumnBlock& block) {
  const std::int64_t stride = columns_of(g, block.kernel_rows);
  for_each_row(g, block.pixels, [&](std::int64_t n, std::int64_t p, const Range& q) {
    for (std::int64_t i = q.begin; i < q.end; ++i, columns += stride) {
      for_each_run(g, block, n, p, i, 0, [&](auto column, auto to, auto length) {
        if (to < 0) return;
        for (std::int64_t j = 0; j < length; ++j) dinput[to + j] += columns[column + j];
      });
    }
  });
}

}  // namespace gradus::cpu
