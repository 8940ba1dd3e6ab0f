// What the readers of files share.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <gradus/tensor/check.h>

namespace gradus::io {

/// Throws Error("[load] cannot read FILE: reason").
template <class... Args>
[[noreturn]] void reject(const std::filesystem::path& path, fmt::format_string<Args...> reason,
                         Args&&... args) {
  fail("load", "cannot read {}: {}", path.string(),
       fmt::format(reason, std::forward<Args>(args)...));
}

/// A text from a file as one short line in quotes, whatever it holds.
std::string quote(std::string_view text);

/// The size in bytes of a regular file that can be opened; rejects anything else.
std::uint64_t readable_size(const std::filesystem::path& path);

}  // namespace gradus::io
