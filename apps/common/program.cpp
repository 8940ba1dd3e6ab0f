#include "common/program.h"

#include <algorithm>
#include <csignal>
#include <exception>
#include <new>

namespace gradus::apps {
namespace {

int report(const char* name, const char* message) {
  std::fflush(stdout);  // what was printed before stands before the error, also in a file
  std::fprintf(stderr, "%s: error: %s\n", name, message);
  return 1;
}

}  // namespace

int run_program(const char* name, const std::function<int()>& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return report(name, "out of memory; a smaller batch needs less");
  } catch (const std::exception& error) {
    return report(name, one_line(error.what()).c_str());
  }
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

}  // namespace gradus::apps
