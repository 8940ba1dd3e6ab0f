#include <gradus/tensor/io/file.h>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

#include <gradus/tensor/check.h>

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

/// Whether `path` still is the open file: who had it locked may have renamed or removed it.
bool is_file_at(int descriptor, const fs::path& path) {
  struct stat open = {}, named = {};
  return ::fstat(descriptor, &open) == 0 && ::stat(path.c_str(), &named) == 0 &&
         open.st_dev == named.st_dev && open.st_ino == named.st_ino;
}

}  // namespace

int open_locked(const fs::path& path, bool wait) {
  constexpr int most_tries = 1000;  // where files have no lasting numbers, each seems another one
  for (int tries = 1;; ++tries) {
    const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor < 0) throw_errno();
    int status = 0;
    do {
      status = ::flock(descriptor, wait ? LOCK_EX : LOCK_EX | LOCK_NB);
    } while (status != 0 && errno == EINTR);
    const bool is_held = status != 0 && errno == EWOULDBLOCK;
    if (!is_held && (tries == most_tries || is_file_at(descriptor, path))) return descriptor;
    ::close(descriptor);
    if (is_held) return -1;
  }
}

FileWriter::FileWriter(const fs::path& path) : descriptor_(open_locked(path, /*wait=*/true)) {
  if (::ftruncate(descriptor_, 0) == 0) return;
  const int error = errno;
  ::close(descriptor_);
  throw std::system_error(error, std::generic_category());
}

FileWriter::~FileWriter() { ::close(descriptor_); }

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

void FileWriter::sync() {
  if (::fsync(descriptor_) != 0) throw_errno();
}

void write_file_atomically(const fs::path& path, const std::function<void(FileWriter&)>& write,
                           std::uint64_t bytes) {
  std::error_code ignored;
  const bool replaces = fs::exists(path, ignored);
  check(!replaces || fs::is_regular_file(path, ignored), "save",
        "cannot write {}: it exists and is not a regular file", path.string());
  fs::path target = fs::is_symlink(path, ignored) ? fs::canonical(path, ignored) : path;
  if (target.empty()) target = path;  // the link leads nowhere, and is replaced
  const std::string temporary = target.string() + ".tmp";
  try {
    FileWriter file(temporary);
    try {
      write(file);
      file.sync();
      if (::rename(temporary.c_str(), target.c_str()) != 0) throw_errno();
    } catch (...) {
      ::unlink(temporary.c_str());  // while it is locked, and so surely ours
      throw;
    }
  } catch (const std::system_error& error) {
    fail("save", "cannot write {}: {}{}; {}", path.string(), error.code().message(),
         bytes > 0 ? fmt::format(" (needs {})", format_bytes(bytes)) : "",
         replaces ? "the previous file is untouched" : "no file was left behind");
  }
  try {
    sync_folder(target.has_parent_path() ? target.parent_path() : fs::path("."));
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
