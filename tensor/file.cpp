#include "tensor/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "tensor/check.h"

namespace gradus {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void throw_errno() { throw std::system_error(errno, std::generic_category()); }

/// Makes a rename durable. Some file systems cannot sync a folder and say EINVAL.
void sync_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw_errno();
  const int error = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  if (error != 0 && error != EINVAL) throw std::system_error(error, std::generic_category());
}

}  // namespace

FileWriter::FileWriter(const fs::path& path)
    : descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) throw_errno();
}

FileWriter::~FileWriter() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void FileWriter::write(const void* data, std::size_t bytes) {
  const auto* next = static_cast<const std::byte*>(data);
  while (bytes > 0) {
    const ssize_t written = ::write(descriptor_, next, bytes);
    if (written < 0) {
      if (errno == EINTR) continue;
      throw_errno();
    }
    next += written;
    bytes -= static_cast<std::size_t>(written);
  }
}

void FileWriter::sync_and_close() {
  if (::fsync(descriptor_) != 0) throw_errno();
  if (::close(std::exchange(descriptor_, -1)) != 0) throw_errno();
}

void write_file_atomically(const fs::path& path, const std::function<void(FileWriter&)>& write,
                           std::uint64_t bytes) {
  std::error_code ignored;
  const bool replaces = fs::exists(path, ignored);
  check(!replaces || fs::is_regular_file(path, ignored), "save",
        "cannot write {}: it exists and is not a regular file", path.string());
  const std::string temporary = path.string() + ".tmp";
  try {
    FileWriter file(temporary);
    write(file);
    file.sync_and_close();
    if (::rename(temporary.c_str(), path.c_str()) != 0) throw_errno();
  } catch (const std::system_error& error) {
    ::unlink(temporary.c_str());
    fail("save", "cannot write {}: {}{}; {}", path.string(), error.code().message(),
         bytes > 0 ? fmt::format(" (needs {})", format_bytes(bytes)) : "",
         replaces ? "the previous file is untouched" : "no file was left behind");
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  try {
    sync_folder(path.has_parent_path() ? path.parent_path() : fs::path("."));
  } catch (const std::system_error& error) {
    fail("save", "wrote {} but cannot sync its folder: {}", path.string(), error.code().message());
  }
}

void write_file_atomically(const fs::path& path, std::string_view contents) {
  write_file_atomically(
      path, [&](FileWriter& file) { file.write(contents); }, contents.size());
}

std::string format_bytes(std::uint64_t bytes) {
  if (bytes == 1) return "1 byte";
  if (bytes < 1000) return fmt::format("{} bytes", bytes);
  double value = static_cast<double>(bytes) / 1e3;
  const char* unit = "kB";
  for (const char* larger : {"MB", "GB", "TB", "PB", "EB"}) {
    if (value < 999.5) break;
    value /= 1e3;
    unit = larger;
  }
  return value < 9.95 ? fmt::format("{:.1f} {}", value, unit)
                      : fmt::format("{:.0f} {}", value, unit);
}

}  // namespace gradus
