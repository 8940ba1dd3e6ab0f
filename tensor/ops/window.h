// Sizes along one axis of an image over which a window moves; shared by convolution and pooling.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string_view>

#include <gradus/tensor/check.h>

namespace gradus {

/// A window of `kernel` >= 1 taps, `dilation` >= 1 apart, that moves by `stride` >= 1 over an axis
/// of `size` pixels with `padding` >= 0 more on each side.
struct WindowAxis {
  std::int64_t size, kernel, stride, padding, dilation = 1;
};

/// The axis' output positions; 0 where the window does not fit. Throws Error if the padded axis
/// has 2^31 - 1 pixels or more: then every position within it fits in 32 bits. Stride and dilation
/// become at most one more than its pixels, beyond which they mean the same.
inline std::int64_t output_positions(std::string_view op, WindowAxis& axis) {
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max() - 1;
  check(axis.size <= most && axis.padding <= (most - axis.size) / 2, op,
        "{} pixels with a padding of {} on each side are too many: the limit is {}", axis.size,
        axis.padding, most);
  const std::int64_t padded = axis.size + 2 * axis.padding;
  axis.stride = std::min(axis.stride, padded + 1);
  axis.dilation = std::min(axis.dilation, padded + 1);
  if (axis.kernel - 1 > padded / axis.dilation) return 0;
  const std::int64_t room = padded - axis.dilation * (axis.kernel - 1) - 1;
  return room < 0 ? 0 : room / axis.stride + 1;
}

}  // namespace gradus
