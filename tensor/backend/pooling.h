// Which pixels a pooling window covers, and which windows cover a pixel. Index is std::int64_t, or
// int on a GPU.
#pragma once

#include <algorithm>

#include "tensor/backend/geometry.h"
#include "tensor/backend/range.h"

namespace gradus {

/// One axis of an image of `size` pixels, over which a window of `kernel` pixels moves by `stride`
/// to `out_size` places; there are `padding` more pixels on each side.
template <class Index>
struct PoolAxis {
  Index size, out_size, kernel, stride, padding;

  /// The pixels of window `out`, without the padding.
  GRADUS_HOST_DEVICE constexpr BasicRange<Index> window(Index out) const {
    const Index begin = out * stride - padding;
    return {std::max(begin, Index{0}), std::min(begin + kernel, size)};
  }
  /// The windows that cover pixel `in`.
  GRADUS_HOST_DEVICE constexpr BasicRange<Index> windows_over(Index in) const {
    const Index last_before = in + padding - kernel;  // windows starting here end before `in`
    return {last_before < 0 ? 0 : last_before / stride + 1,
            std::min((in + padding) / stride + 1, out_size)};
  }
};

/// Pooling, seen axis by axis.
template <class Index>
struct Pooling {
  PoolAxis<Index> rows, columns;
  Index C;
  bool count_include_pad;

  explicit Pooling(const Pool2dGeometry& g)
      : rows{static_cast<Index>(g.H), static_cast<Index>(g.out_height),
             static_cast<Index>(g.kernel.height), static_cast<Index>(g.stride.height),
             static_cast<Index>(g.padding.height)},
        columns{static_cast<Index>(g.W), static_cast<Index>(g.out_width),
                static_cast<Index>(g.kernel.width), static_cast<Index>(g.stride.width),
                static_cast<Index>(g.padding.width)},
        C(static_cast<Index>(g.C)),
        count_include_pad(g.count_include_pad) {}

  /// What the average of window (p, q) divides by; a kernel may be larger than an image.
  template <class Number>
  GRADUS_HOST_DEVICE constexpr Number divisor(Index p, Index q) const {
    if (count_include_pad) return Number(rows.kernel) * Number(columns.kernel);
    return Number(rows.window(p).size() * columns.window(q).size());
  }
};

}  // namespace gradus
