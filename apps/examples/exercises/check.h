// What the checkers of the exercises share. A checker includes the reader's file (EXERCISE) and
// ends with GRADUS_EXERCISE { ...checks... }; the first check that fails ends it.
#pragma once

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
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
                  "memory behind an array, or beyond what a float holds, or as 0 / 0), expected "
                  "{:.6g}",
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

/// The reader's file, without its folder.
inline const char* file_name() {
  const char* slash = std::strrchr(EXERCISE, '/');
  return slash == nullptr ? EXERCISE : slash + 1;
}

/// The verdict where a signal ends the program. Its handler may call few functions, and fmt::print
/// is none of them.
inline void end_by_signal(int) {
  const auto print = [](const char* text) {
    [[maybe_unused]] const auto written = write(STDOUT_FILENO, text, std::strlen(text));
  };
  print(file_name());
  print(": not yet: the program died\n");
  print("hint: an index out of bounds, recursion without end, or a whole number divided by 0?\n");
  _exit(1);
}

/// From now on end_by_signal is called where the program would die in silence: of memory that it
/// does not have, of a whole number divided by 0, or of an assertion of the C++ library.
inline void handle_signals() {
  static char memory[64 * 1024];  // recursion without end leaves no room on the program's own stack
  stack_t stack{};
  stack.ss_sp = memory;
  stack.ss_size = sizeof(memory);
  sigaltstack(&stack, nullptr);
  struct sigaction action {};
  action.sa_handler = end_by_signal;
  action.sa_flags = SA_ONSTACK;
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGABRT}) sigaction(number, &action, nullptr);
}

void check_exercise();

/// Prints the verdict; 0 if all is right.
inline int run() {
  handle_signals();
  try {
    check_exercise();
    fmt::print("{}: right!\n", file_name());
    return 0;
  } catch (const Wrong& wrong) {
    fmt::print("{}: not yet: {}\nhint: {}\n", file_name(), wrong.what(), wrong.hint);
  } catch (const std::exception& error) {
    fmt::print("{}: not yet: {}\nhint: it threw an exception\n", file_name(), error.what());
  }
  return 1;
}

}  // namespace exercise

#define GRADUS_EXERCISE                  \
  int main() { return exercise::run(); } \
  void exercise::check_exercise()
