#include "tests/support/command.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>

#include "tests/support/temp_folder.h"

namespace gradus::test {
namespace {

/// In the child: becomes the program, or leaves with 127.
[[noreturn]] void become(const char* const* arguments, const char* output,
                         const CommandOptions& options) {
  const int file = ::open(output, O_WRONLY | O_CREAT | O_APPEND, 0600);
  const int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(file, STDOUT_FILENO);
  ::dup2(file, STDERR_FILENO);
  if (options.output_is_closed) {
    int ends[2] = {};
    if (::pipe(ends) != 0) ::_exit(127);
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
  }
  // What this process ignores, when it runs in the background, say, the child would ignore, too.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) std::signal(signal, SIG_DFL);
  if (!options.folder.empty() && ::chdir(options.folder.c_str()) != 0) ::_exit(127);
  for (const std::string& entry : options.environment)
    ::putenv(const_cast<char*>(entry.c_str()));  // the strings outlive the exec
  if (options.file_size_limit > 0) {
    const rlimit limit{options.file_size_limit, options.file_size_limit};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    std::signal(SIGXFSZ, SIG_IGN);  // a write beyond the limit fails with EFBIG
  }
  if (options.address_space_limit > 0) {
    const rlimit limit{options.address_space_limit, options.address_space_limit};
    ::setrlimit(RLIMIT_AS, &limit);
  }
  ::execv(arguments[0], const_cast<char* const*>(arguments));
  ::_exit(127);
}

/// Waits for the child's end and sends the signals that the options ask for.
int wait_for(pid_t child, const CommandOptions& options, CommandResult& result) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::duration<double>(options.timeout_seconds);
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    if (options.signal != 0 && !result.signalled && options.signal_when()) {
      ::kill(child, options.signal);
      result.signalled = true;
      if (options.second_signal != 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        ::kill(child, options.second_signal);
      }
    }
    if (!result.timed_out && Clock::now() > deadline) {
      ::kill(child, SIGKILL);
      result.timed_out = true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return status;
}

}  // namespace

CommandResult run_command(const std::filesystem::path& program,
                          const std::vector<std::string>& arguments,
                          const CommandOptions& options) {
  const TempFolder folder;
  const std::string output = folder / "output";
  std::vector<const char*> pointers{program.c_str()};
  for (const std::string& argument : arguments) pointers.push_back(argument.c_str());
  pointers.push_back(nullptr);

  const auto start = std::chrono::steady_clock::now();
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) become(pointers.data(), output.c_str(), options);
  CommandResult result;
  const int status = wait_for(child, options, result);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.output = read_text(output);
  return result;
}

double number_behind(const std::string& label, const std::string& text) {
  const std::size_t place = text.find(label);
  if (place == std::string::npos) throw std::runtime_error("no '" + label + "' in: " + text);
  return std::stod(text.substr(place + label.size()));
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

}  // namespace gradus::test
