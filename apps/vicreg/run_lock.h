// One process at a time in a run folder.
#pragma once

#include <filesystem>

namespace gradus::vicreg {

/// The sole right to write in a run folder, held by a lock (flock) on its file `.lock`, which
/// contains the process's number. However a process ends, the kernel releases its lock.
class RunLock {
 public:
  /// Throws Error if another process holds the lock, naming it, or if the folder cannot be written.
  /// Where the file system has no locks, nothing is locked.
  explicit RunLock(const std::filesystem::path& folder);
  /// Removes the file and releases the lock.
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  std::filesystem::path path_;
  int descriptor_;
};

}  // namespace gradus::vicreg
