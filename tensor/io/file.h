// Writing files so that a reader never sees half of one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace gradus {

/// Opens `path` for reading and writing, creating it if need be, and locks it (flock) against other
/// processes and other calls until the descriptor is closed, however the process ends. Where
/// another one has it locked, waits, or returns -1 unless `wait`. A file system without locks gives
/// none. Throws std::system_error.
int open_locked(const std::filesystem::path& path, bool wait);

/// The open temporary file that `write_file_atomically` hands to its caller.
class FileWriter {
 public:
  /// Creates or empties `path`, once no other process writes it; throws std::system_error.
  explicit FileWriter(const std::filesystem::path& path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  /// Appends; throws std::system_error unless all of it was written.
  void write(const void* data, std::size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// Brings the contents to the disk; throws std::system_error.
  void sync();

 private:
  int descriptor_;
};

/// Replaces the file at `path` whole or not at all, also when the process is killed or the power
/// fails: `write` fills `path`.tmp in the same folder, which is then synced and renamed. On failure
/// the temporary is removed and the previous file stays as it was. Processes that write the same
/// file take turns; the last one's is what remains.
///
/// `bytes` is the size to come, where it is known, for the error of a full disk:
///   [save] cannot write runs/x/checkpoint.safetensors: No space left on device (needs 180 MB); the
///   previous file is untouched
/// Exceptions that `write` throws itself pass through, but for std::system_error, which counts as a
/// failure to write.
void write_file_atomically(const std::filesystem::path& path,
                           const std::function<void(FileWriter&)>& write, std::uint64_t bytes = 0);
/// The same for contents at hand.
void write_file_atomically(const std::filesystem::path& path, std::string_view contents);

/// "512 bytes", "1.5 kB", "180 MB": decimal units, two significant digits or more.
std::string format_bytes(std::uint64_t bytes);

}  // namespace gradus
