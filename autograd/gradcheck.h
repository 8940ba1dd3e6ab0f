// Gradient checks: the analytic gradient against central differences, in float64.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <gradus/autograd/variable.h>

namespace gradus {

/// An element passes where |analytic - numeric| <= absolute_tolerance + relative_tolerance times
/// the larger of the two + what rounding can change of the numeric one.
struct GradcheckOptions {
  double step = 1e-6;  ///< h of the central difference
  double relative_tolerance = 1e-6;
  double absolute_tolerance = 1e-8;
  std::uint64_t seed = 0;  ///< of the random weights of the outputs
  /// How many elements of each input are tried at most, evenly spread; at least 1.
  std::int64_t most_elements = std::numeric_limits<std::int64_t>::max();
};

/// What gradcheck found.
struct GradcheckResult {
  bool passed = true;
  double largest_error = 0;  ///< largest |analytic - numeric|
  std::string message;       ///< where it first failed: input, element, both values
  explicit operator bool() const { return passed; }
};

/// Checks d sum(w * function(inputs)) / d inputs for random weights w in [0.5, 1.5] against
/// (f(x + h) - f(x - h)) / (2 h), element by element. Inputs are float64, on any device;
/// `function` must be pure and smooth around them (keep inputs away from kinks).
GradcheckResult gradcheck(const std::function<Variable(const std::vector<Variable>&)>& function,
                          const std::vector<Tensor>& inputs, const GradcheckOptions& options = {});

}  // namespace gradus
