// What every program does the same way: errors, and output.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <functional>
#include <string>
#include <string_view>

namespace gradus::apps {

/// Runs a program's body and turns what it throws into one line on stderr: "train: error: ...".
/// Returns the exit code: the body's own, or 1 after an error.
int run_program(const char* name, const std::function<int()>& body);

/// A text as one line: control characters become spaces, and none stand at its end.
std::string one_line(std::string text);

/// From now on a closed pipe on stdout (`train | head`) does not end the program: it goes on, and
/// what it prints is dropped.
void ignore_closed_output();

/// Writes to a stream; where it cannot be written (a closed pipe, a terminal that is gone, a full
/// disk) the text is dropped. fmt::print would throw.
void write_text(std::FILE* stream, std::string_view text);

/// Prints to stdout as `write_text` does.
template <class... Args>
void print(fmt::format_string<Args...> format, Args&&... args) {
  write_text(stdout, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace gradus::apps
