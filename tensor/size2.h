// Height and width of windows, strides and the like.
#pragma once

#include <cstdint>

namespace gradus {

/// Height and width; one number means both: {.stride = 2}.
struct Size2 {
  std::int64_t height;
  std::int64_t width;

  constexpr Size2(std::int64_t both) : height(both), width(both) {}
  constexpr Size2(std::int64_t h, std::int64_t w) : height(h), width(w) {}
  constexpr bool operator==(const Size2&) const = default;
};

}  // namespace gradus
