// Running a program as a user would: arguments in, exit code and output back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace gradus::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool is_sanitized = true;  // sanitizers also reserve terabytes of addresses
#else
inline constexpr bool is_sanitized = false;
#endif
/// How many times as long programs may take here.
inline constexpr double patience = is_sanitized ? 10 : 1;

struct CommandOptions {
  std::vector<std::string> environment{};   ///< "NAME=value", beside what this process has
  std::filesystem::path folder{};           ///< where to run; empty: here
  double timeout_seconds = 120 * patience;  ///< then the program is killed
  std::uint64_t file_size_limit = 0;        ///< bytes it may write to a file (RLIMIT_FSIZE); 0: any
  std::uint64_t address_space_limit = 0;    ///< bytes it may have mapped (RLIMIT_AS); 0: any
  bool output_is_closed = false;            ///< stdout is a pipe that nobody reads (train | head)
  int signal = 0;                           ///< sent once `signal_when` first holds
  std::function<bool()> signal_when = nullptr;
  int second_signal = 0;  ///< sent a twentieth of a second after `signal`
};

struct CommandResult {
  int exit_code = 0;  ///< 128 + number when a signal ended it
  bool timed_out = false;
  bool signalled = false;  ///< CommandOptions::signal was sent
  std::string output;      ///< stdout and stderr, as they came
  double seconds = 0;      ///< from the start to the end
};

/// Runs `program` with `arguments`, without a shell, and waits for its end.
CommandResult run_command(const std::filesystem::path& program,
                          const std::vector<std::string>& arguments,
                          const CommandOptions& options = {});

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// The number behind `label` in a text. Throws std::runtime_error if there is none.
double number_behind(const std::string& label, const std::string& text);

/// The text's lines, without their ends.
std::vector<std::string> lines_of(const std::string& text);

}  // namespace gradus::test
