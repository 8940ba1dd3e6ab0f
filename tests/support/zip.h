// ZIP files as torch.save writes them, for tests of what reads them.
#pragma once

#include <minizip/zip.h>

#include <filesystem>
#include <map>
#include <string>

namespace gradus::test {

/// Writes stored (or, with a `method` of Z_DEFLATED, compressed) entries under the folder
/// "archive". With `zip64` all of them have ZIP64's fields.
inline void write_zip(const std::filesystem::path& path,
                      const std::map<std::string, std::string>& entries, int method = 0,
                      bool zip64 = false) {
  std::filesystem::remove(path);
  const zipFile file = zipOpen64(path.c_str(), APPEND_STATUS_CREATE);
  for (const auto& [name, bytes] : entries) {
    zipOpenNewFileInZip64(file, ("archive/" + name).c_str(), nullptr, nullptr, 0, nullptr, 0,
                          nullptr, method, Z_DEFAULT_COMPRESSION, zip64);
    zipWriteInFileInZip(file, bytes.data(), static_cast<unsigned>(bytes.size()));
    zipCloseFileInZip(file);
  }
  zipClose(file, nullptr);
}

}  // namespace gradus::test
