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

/// Seconds that each of `repeats` >= 1 calls of function() takes, and of more calls until they take
/// a tenth of a second in all, so that a short interruption cannot decide; a call before them warms
/// up.
template <class Function>
std::vector<double> seconds_of(int repeats, const Function& function) {
  constexpr double least_sum = 0.1;
  std::vector<double> seconds;
  double sum = 0;
  function();
  while (seconds.size() < static_cast<std::size_t>(repeats) || sum < least_sum) {
    const auto begin = std::chrono::steady_clock::now();
    function();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    seconds.push_back(taken.count());
    sum += taken.count();
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
