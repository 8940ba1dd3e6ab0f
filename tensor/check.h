// Errors of the whole framework: one exception type, one way to check an argument.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace gradus {

/// An error that a user can act on. Its message reads
///   [conv2d] weight's input channels must match ...; got input [8, 32, 32, 3], weight [64, 3, 3,
///   4]
/// and, where a module raised it, the module's path and class stand before it:
///   encoder.layer2.0.conv1 (Conv2d): [conv2d] ...
class Error : public std::exception {
 public:
  /// `message` is the line without a module's path: "[where] what; what to do".
  explicit Error(std::string message) : message_(std::move(message)), what_(message_) {}

  /// The whole line.
  const char* what() const noexcept override { return what_.c_str(); }
  /// The message without a module path.
  const std::string& message() const { return message_; }
  /// The path of the module that raised it, empty outside of modules.
  const std::string& path() const { return path_; }

  /// Puts `name` before the path; called by each module on the way out, the innermost one, whose
  /// class is shown, first.
  void prepend_path(std::string_view name, std::string_view class_name) {
    if (name.empty()) return;
    if (path_.empty()) class_name_ = class_name;
    path_ = path_.empty() ? std::string(name) : fmt::format("{}.{}", name, path_);
    what_ = fmt::format("{} ({}): {}", path_, class_name_, message_);
  }

 private:
  std::string message_;
  std::string path_;
  std::string class_name_;
  std::string what_;
};

/// Throws Error("[where] message").
template <class... Args>
[[noreturn]] void fail(std::string_view where, fmt::format_string<Args...> message,
                       Args&&... args) {
  throw Error(fmt::format("[{}] {}", where, fmt::format(message, std::forward<Args>(args)...)));
}

/// Throws Error("[where] message") unless `condition` holds; the message is formatted only then.
template <class... Args>
void check(bool condition, std::string_view where, fmt::format_string<Args...> message,
           Args&&... args) {
  if (!condition) fail(where, message, std::forward<Args>(args)...);
}

}  // namespace gradus
