#include "common/program.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <new>
#include <system_error>

#include <gradus/tensor/check.h>

namespace gradus::apps {
namespace {

/// Opens /dev/null in the place of a standard stream that is closed: a file would take the place,
/// and what is printed would be written into it.
void open_closed_streams() {
  int descriptor = open("/dev/null", O_RDWR);
  while (descriptor >= 0 && descriptor <= STDERR_FILENO) descriptor = open("/dev/null", O_RDWR);
  if (descriptor >= 0) close(descriptor);
}

/// Where that fails, OpenMP waits as it does by itself.
void wait_briefly(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  // About as long as it takes to wake a thread, some 50 microseconds.
  if (error || setenv("GOMP_SPINCOUNT", "1000", 1) != 0) return;
  execv(program.c_str(), argv);
}

}  // namespace

int run_program(const char* name, char** argv, const std::function<int()>& body) {
  open_closed_streams();
  wait_briefly(argv);
  try {
    return body();
  } catch (const std::exception& error) {
    return report_error(name, error_text(error));
  }
}

int report_error(const char* program, const std::string& text) {
  std::fflush(stdout);  // what was printed before stands before the error, also in a file
  std::fprintf(stderr, "%s: error: %s\n", program, text.c_str());
  return 1;
}

std::string error_text(const std::exception& error) {
  const bool no_memory = dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
  return no_memory ? "out of memory; a smaller batch, a smaller model or fewer images need less"
                   : one_line(error.what());
}

void check_output_file(std::string_view program, std::string_view option,
                       const std::filesystem::path& path) {
  std::error_code ignored;
  const std::filesystem::path folder = std::filesystem::absolute(path).parent_path();
  check(std::filesystem::is_directory(folder, ignored), program,
        "{} {}: there is no folder {}; make it first", option, path.string(), folder.string());
  check(!std::filesystem::exists(path, ignored) || std::filesystem::is_regular_file(path, ignored),
        program, "{} {}: it is there and no regular file; name another", option, path.string());
  check(::access(folder.c_str(), W_OK) == 0, program, "{} {}: nothing can be written in {}: {}",
        option, path.string(), folder.string(), std::strerror(errno));
}

void check_not_input(std::string_view program, std::string_view option,
                     const std::filesystem::path& path, const std::filesystem::path& input) {
  const auto whole = [](const std::filesystem::path& file) {
    std::error_code error;
    const auto absolute = std::filesystem::absolute(file);  // weakly_canonical alone may not be
    const auto canonical = std::filesystem::weakly_canonical(absolute, error);
    return error ? absolute : canonical;
  };
  check(whole(path) != whole(input), program, "{} {}: it would overwrite {}; name another file",
        option, path.string(), input.string());
}

std::string one_line(std::string text) {
  constexpr unsigned char space = 0x20, del = 0x7f;
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < space || c == del; }, ' ');
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

void ignore_closed_output() { std::signal(SIGPIPE, SIG_IGN); }

void write_text(std::FILE* stream, std::string_view text) {
  [[maybe_unused]] const std::size_t written = std::fwrite(text.data(), 1, text.size(), stream);
}

void print_answer(std::string_view text) {
  const bool written =
      std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  check(written || errno == EPIPE, "output", "cannot write to stdout: {}", std::strerror(errno));
}

}  // namespace gradus::apps
