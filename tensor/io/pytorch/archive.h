// The ZIP archives that torch.save writes.
#pragma once

#include <minizip/unzip.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

namespace gradus::pytorch {

/// The entries of a ZIP file that torch.save may have written: stored, not compressed, so that all
/// of them together are no larger than the file; anything else is rejected. Entries are named
/// without the folder that holds them all: "data.pkl", "data/0". By zlib's minizip, which reads
/// ZIP64, checks each entry's CRC-32, keeps a fixed amount of memory whatever a file claims, and
/// needs nothing but zlib.
class Archive {
 public:
  explicit Archive(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  bool contains(const std::string& name) const { return entries_.contains(name); }
  /// Bytes of an entry; rejects the file if it has none of that name.
  std::uint64_t size(const std::string& name) const;
  /// Reads an entry's size(name) bytes.
  void read(const std::string& name, void* data) const;
  /// A whole entry of at most `most` bytes.
  std::string read_text(const std::string& name, std::uint64_t most) const;

 private:
  struct Entry {
    unz64_file_pos position;
    std::uint64_t bytes;
  };
  struct Close {
    void operator()(void* file) const { unzClose(file); }
  };

  const Entry& entry(const std::string& name) const;

  std::filesystem::path path_;
  std::unique_ptr<void, Close> file_;
  std::map<std::string, Entry> entries_;
};

}  // namespace gradus::pytorch
