// What the checkers of the exercises share. A checker includes the reader's file (EXERCISE) and
// ends with GRADUS_EXERCISE { ...checks... }; the first check that fails ends it.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include EXERCISE

namespace exercise {

/// What is wrong, and what to look at.
struct Wrong : std::runtime_error {
  Wrong(const std::string& what, std::string hint_)
      : std::runtime_error(what), hint(std::move(hint_)) {}
  std::string hint;
};

/// Ends the check unless `right`.
inline void expect(bool right, const std::string& what, const std::string& hint) {
  if (!right) throw Wrong(what, hint);
}

/// Ends the check unless |got - expected| <= tolerance max(1, |expected|).
inline void expect_near(const std::string& name, double got, double expected, double tolerance,
                        const std::string& hint) {
  expect(
      !std::isnan(got),
      fmt::format("{} is nan (nobody wrote it, or it was computed from what nobody wrote, such as "
                  "memory behind an array, or beyond what a float holds), expected {:.6g}",
                  name, expected),
      hint);
  expect(std::abs(got - expected) <= tolerance * std::max(1.0, std::abs(expected)),
         fmt::format("{} is {:.6g}, expected {:.6g}", name, got, expected), hint);
}

/// The same for each element.
template <class A, class B>
void expect_near(const std::string& name, const std::vector<A>& got, const std::vector<B>& expected,
                 double tolerance, const std::string& hint) {
  expect(got.size() == expected.size(),
         fmt::format("{} has {} elements, expected {}", name, got.size(), expected.size()), hint);
  for (std::size_t i = 0; i < got.size(); ++i)
    expect_near(fmt::format("{}[{}]", name, i), static_cast<double>(got[i]),
                static_cast<double>(expected[i]), tolerance, hint);
}

/// n numbers between -1 and 1 that look random; `seed` picks which.
inline std::vector<float> numbers(std::size_t n, unsigned seed = 1) {
  std::vector<float> values(n);
  for (float& value : values) {
    seed = seed * 1664525u + 1013904223u;
    value = static_cast<float>(seed >> 8) / 8388608.0f - 1;
  }
  return values;
}

void check_exercise();

/// Prints the verdict; 0 if all is right.
inline int run() {
  const std::string file = EXERCISE;
  const std::string name = file.substr(file.rfind('/') + 1);
  try {
    check_exercise();
    fmt::print("{}: right!\n", name);
    return 0;
  } catch (const Wrong& wrong) {
    fmt::print("{}: not yet: {}\nhint: {}\n", name, wrong.what(), wrong.hint);
  } catch (const std::exception& error) {
    fmt::print("{}: not yet: {}\nhint: it threw an exception\n", name, error.what());
  }
  return 1;
}

}  // namespace exercise

#define GRADUS_EXERCISE                  \
  int main() { return exercise::run(); } \
  void exercise::check_exercise()
