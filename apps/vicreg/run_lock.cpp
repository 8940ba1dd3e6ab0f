#include "vicreg/run_lock.h"

#include <unistd.h>

#include <fstream>
#include <string>
#include <system_error>

#include <gradus/tensor/check.h>
#include <gradus/tensor/io/file.h>

namespace gradus::vicreg {
namespace {

/// "process 123", as the holder of a lock wrote it.
std::string holder(const std::filesystem::path& lock) {
  long process = 0;
  std::ifstream(lock) >> process;
  return process > 0 ? fmt::format("process {}", process) : "another process";
}

}  // namespace

RunLock::RunLock(const std::filesystem::path& folder) : path_(folder / ".lock") {
  try {
    descriptor_ = open_locked(path_, /*wait=*/false);
  } catch (const std::system_error& error) {
    fail("train", "cannot write in the run folder {}: {}", folder.string(), error.code().message());
  }
  check(descriptor_ >= 0, "train",
        "{} is in use: {} trains there; wait for its end, or start elsewhere with --out",
        folder.string(), holder(path_));
  const std::string text = fmt::format("{}\n", ::getpid());
  // On a full disk the lock holds all the same, only without the number.
  [[maybe_unused]] const bool is_written =
      ::ftruncate(descriptor_, 0) == 0 && ::write(descriptor_, text.data(), text.size()) > 0;
}

RunLock::~RunLock() {
  ::unlink(path_.c_str());  // while the lock holds: whoever has opened this file looks again
  ::close(descriptor_);
}

}  // namespace gradus::vicreg
