// Ranges of indices and their parts: what kernels of both back ends share.
#pragma once

#include <cstdint>

#include "tensor/backend/arithmetic.h"

namespace gradus {

/// A half-open range of indices.
template <class Index>
struct BasicRange {
  Index begin, end;
  GRADUS_HOST_DEVICE constexpr Index size() const { return end - begin; }
};
using Range = BasicRange<std::int64_t>;

/// Part `i` of [0, size) cut into `parts` of nearly equal length.
constexpr Range part_of(std::int64_t size, std::int64_t parts, std::int64_t i) {
  return {size * i / parts, size * (i + 1) / parts};
}

}  // namespace gradus
