// What every program does the same way: errors, and output.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace gradus::apps {

/// Runs a program's body and turns what it throws into one line on stderr: "train: error: ...".
/// Returns the exit code: the body's own, or 1 after an error. Must be called first in main.
///
/// Before that, unless the environment says how OpenMP's threads wait (OMP_WAIT_POLICY or
/// GOMP_SPINCOUNT), the program replaces itself by one that is told to spin for a short time only:
/// GNU OpenMP, which reads its environment before main, would else keep processors from other
/// programs for as long as a thread waits for one that has lost its own.
int run_program(const char* name, char** argv, const std::function<int()>& body);

/// Prints "train: error: ..." on stderr, after what was printed before; returns 1.
int report_error(const char* program, const std::string& text);
/// What went wrong, as one line.
std::string error_text(const std::exception& error);

/// Throws Error unless a file can be written to `path`, which `option` names: its folder is there
/// and may be written to, and what is there by that name, if anything, is a file.
void check_output_file(std::string_view program, std::string_view option,
                       const std::filesystem::path& path);

/// Throws Error if the file of an option is `input`, which writing it would destroy.
void check_not_input(std::string_view program, std::string_view option,
                     const std::filesystem::path& path, const std::filesystem::path& input);

/// A text as one line: control characters become spaces, and none stand at its end.
std::string one_line(std::string text);

/// From now on a closed pipe on stdout (`train | head`) does not end the program: it goes on, and
/// what it prints is dropped.
void ignore_closed_output();

/// Writes to a stream; where it cannot be written (a closed pipe, a terminal that is gone, a full
/// disk) the text is dropped. fmt::print would throw.
void write_text(std::FILE* stream, std::string_view text);

/// Prints what a program was asked for and ends with (--help, --print-config). Throws Error where
/// it cannot be written, unless the reader has gone (a closed pipe).
void print_answer(std::string_view text);

/// Prints to stdout as `write_text` does.
template <class... Args>
void print(fmt::format_string<Args...> format, Args&&... args) {
  write_text(stdout, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace gradus::apps
