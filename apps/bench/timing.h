// How the benchmarks take times.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

namespace gradus::bench {

/// The middle element, or the upper one of the two; at least one value.
inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Seconds that each of `repeats` >= 1 calls of function() takes; a call before them warms up.
template <class Function>
std::vector<double> seconds_of(int repeats, const Function& function) {
  std::vector<double> seconds;
  for (int i = 0; i <= repeats; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    function();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    if (i > 0) seconds.push_back(taken.count());
  }
  return seconds;
}

template <class Function>
double median_seconds(int repeats, const Function& function) {
  return median(seconds_of(repeats, function));
}

/// What the machine can do: other programs make calls longer, never shorter.
template <class Function>
double least_seconds(int repeats, const Function& function) {
  const std::vector<double> seconds = seconds_of(repeats, function);
  return *std::min_element(seconds.begin(), seconds.end());
}

}  // namespace gradus::bench
