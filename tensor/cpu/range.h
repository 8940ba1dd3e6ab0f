// Ranges of indices.
#pragma once

#include <cstdint>

namespace gradus::cpu {

/// A half-open range of indices.
struct Range {
  std::int64_t begin, end;
  std::int64_t size() const { return end - begin; }
};

}  // namespace gradus::cpu
