// The matrix view of a convolution: one row an output pixel (n, p, q), one column a kernel tap and
// channel (r, s, c), so that output = columns weight^T. Internal to tensor/cpu/conv.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tensor/backend/geometry.h"
#include "tensor/backend/range.h"

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
/// block: `length` elements at `column` are those at offset `input` of the images, or padding where
/// `input` is negative. The pieces cover the row once, in order.
template <class Run>
void for_each_run(const Conv2dGeometry& g, const ColumnBlock& block, std::int64_t n, std::int64_t p,
                  std::int64_t q, const Run& run) {
  std::int64_t column = 0;
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

/// Copies a block of columns out of the images; columns [pixels, kernel_rows kW C/groups].
template <class T>
void im2col(const T* input, T* columns, const Conv2dGeometry& g, const ColumnBlock& block) {
  const std::int64_t stride = columns_of(g, block.kernel_rows);
  for_each_row(g, block.pixels, [&](std::int64_t n, std::int64_t p, const Range& q) {
    for (std::int64_t i = q.begin; i < q.end; ++i, columns += stride) {
      for_each_run(g, block, n, p, i, [&](auto column, auto from, auto length) {
        if (from < 0) {
          std::fill_n(columns + column, length, T(0.0f));
        } else {
          std::copy_n(input + from, length, columns + column);
        }
      });
    }
  });
}

/// The adjoint of im2col: adds a block of columns to the images.
template <class T>
void add_col2im(const T* columns, T* dinput, const Conv2dGeometry& g, const ColumnBlock& block) {
  const std::int64_t stride = columns_of(g, block.kernel_rows);
  for_each_row(g, block.pixels, [&](std::int64_t n, std::int64_t p, const Range& q) {
    for (std::int64_t i = q.begin; i < q.end; ++i, columns += stride) {
      for_each_run(g, block, n, p, i, [&](auto column, auto to, auto length) {
        if (to < 0) return;
        for (std::int64_t j = 0; j < length; ++j) dinput[to + j] += columns[column + j];
      });
    }
  });
}

}  // namespace gradus::cpu
