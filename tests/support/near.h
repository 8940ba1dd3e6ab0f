// Comparisons of numbers, relative to their size.
#pragma once

#include <cmath>
#include <ostream>

namespace gradus::test {

/// Equals what differs from `expected` by at most `tolerance` times |expected|. (doctest's Approx
/// adds 1 to the scale, so that 1e-6 is as good as 0.)
struct Near {
  double expected, tolerance;
};

/// CHECK(x == near(2.5)): the default is a few roundings of float32.
inline Near near(double expected, double tolerance = 5e-7) { return {expected, tolerance}; }

inline bool operator==(double actual, const Near& near) {
  return std::abs(actual - near.expected) <= near.tolerance * std::abs(near.expected);
}

inline std::ostream& operator<<(std::ostream& out, const Near& near) {
  return out << near.expected << " (1 +- " << near.tolerance << ")";
}

}  // namespace gradus::test
