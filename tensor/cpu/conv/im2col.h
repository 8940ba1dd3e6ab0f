// The matrix view of a convolution: one row an output pixel (n, p, q), one column a kernel tap and
// channel (r, s, c), so that output = columns weight^T. Internal to tensor/cpu/conv.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

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

/// to = from, `count` elements: a call of memcpy takes longer than copying a few does.
template <class T>
void copy_run(const T* from, std::int64_t count, T* to) {
  constexpr std::int64_t move = 8, many = 64;
  if (count < move || count >= many) {
    std::copy_n(from, count, to);
    return;
  }
  const auto copy_move = [&](std::int64_t i) { std::memcpy(to + i, from + i, move * sizeof(T)); };
  for (std::int64_t i = 0; i < count - move; i += move) copy_move(i);
  copy_move(count - move);  // may overlap the one before
}

/// The output pixels of a row whose windows' rows are one contiguous piece of the images each.
inline Range whole_windows(const Conv2dGeometry& g, const Range& q) {
  if (g.groups != 1 || g.dilation.width != 1) return {q.begin, q.begin};
  const auto first_from =
      [&](std::int64_t w) {  // the first pixel whose window begins at w or later
        return divide_up(std::max<std::int64_t>(w + g.padding.width, 0), g.stride.width);
      };
  const std::int64_t begin = std::clamp(first_from(0), q.begin, q.end);
  return {begin, std::clamp(first_from(g.W - g.kernel.width + 1), begin, q.end)};
}

/// Copies a block of columns out of the images; columns [pixels, kernel_rows kW C/groups], rows
/// `stride` elements apart.
template <class T>
void im2col(const T* input, T* columns, const Conv2dGeometry& g, const ColumnBlock& block,
            std::int64_t stride) {
  const auto copy = [](const T* from, std::int64_t count, T* to) {
    if (from == nullptr) {
      std::fill_n(to, count, T(0.0f));
    } else {
      copy_run(from, count, to);
    }
  };
  for_each_row(g, block.pixels, [&](std::int64_t n, std::int64_t p, const Range& q) {
    const Range whole = whole_windows(g, q);
    const auto gather = [&](std::int64_t i) {
      for_each_run(g, block, n, p, i, [&](auto column, auto from, auto length) {
        copy(from < 0 ? nullptr : input + from, length, columns + (i - q.begin) * stride + column);
      });
    };
    for (std::int64_t i = q.begin; i < whole.begin; ++i) gather(i);
    const std::int64_t run = g.kernel.width * g.C;
    for (std::int64_t r = block.kernel_rows.begin; r < block.kernel_rows.end; ++r) {
      const std::int64_t h = p * g.stride.height - g.padding.height + r * g.dilation.height;
      const T* const row = h < 0 || h >= g.H ? nullptr : input + (n * g.H + h) * g.W * g.C;
      T* const to = columns + (r - block.kernel_rows.begin) * run;
      for (std::int64_t i = whole.begin; i < whole.end; ++i) {
        const std::int64_t w = i * g.stride.width - g.padding.width;
        copy(row == nullptr ? row : row + w * g.C, run, to + (i - q.begin) * stride);
      }
    }
    for (std::int64_t i = whole.end; i < q.end; ++i) gather(i);
    columns += q.size() * stride;
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
