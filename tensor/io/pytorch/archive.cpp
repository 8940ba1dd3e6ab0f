#include "tensor/io/pytorch/archive.h"

#include <algorithm>
#include <array>

#include <gradus/tensor/io/file.h>
#include "tensor/io/internal/reading.h"

namespace gradus::pytorch {

using io::quote;
using io::reject;

Archive::Archive(const std::filesystem::path& path) : path_(path) {
  const std::uint64_t file_bytes = io::readable_size(path);
  file_.reset(unzOpen64(path.c_str()));
  if (!file_) {
    reject(path, "truncated or corrupt: a ZIP file ends with a directory, which is not there");
  }
  std::uint64_t entry_bytes = 0;
  int status = unzGoToFirstFile(file_.get());
  for (; status == UNZ_OK; status = unzGoToNextFile(file_.get())) {
    std::array<char, 512> text{};
    unz_file_info64 info{};
    Entry entry{};
    if (unzGetCurrentFileInfo64(file_.get(), &info, text.data(), text.size(), nullptr, 0, nullptr,
                                0) != UNZ_OK ||
        unzGetFilePos64(file_.get(), &entry.position) != UNZ_OK) {
      break;
    }
    if (info.size_filename >= text.size()) reject(path, "an entry's name is too long");
    const std::string full_name(text.data(), info.size_filename);
    if (info.compression_method != 0 || (info.flag & 1) != 0 ||
        info.compressed_size != info.uncompressed_size) {
      reject(path, "entry {} is compressed or encrypted, as torch.save never writes it",
             quote(full_name));
    }
    entry.bytes = info.uncompressed_size;
    if (entry.bytes > file_bytes - entry_bytes) {
      reject(path, "corrupt: its entries, up to {}, are larger than the file", quote(full_name));
    }
    entry_bytes += entry.bytes;
    if (!entries_.emplace(full_name.substr(full_name.find('/') + 1), entry).second) {
      reject(path, "the entry {} is there twice", quote(full_name));
    }
  }
  if (status != UNZ_END_OF_LIST_OF_FILE) reject(path, "corrupt: its ZIP directory is damaged");
}

const Archive::Entry& Archive::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    reject(path_, "the entry {} is missing: not a file of torch.save, or a damaged one",
           quote(name));
  }
  return found->second;
}

std::uint64_t Archive::size(const std::string& name) const { return entry(name).bytes; }

void Archive::read(const std::string& name, void* data) const {
  const Entry& found = entry(name);
  auto* next = static_cast<char*>(data);
  if (unzGoToFilePos64(file_.get(), &found.position) != UNZ_OK ||
      unzOpenCurrentFile(file_.get()) != UNZ_OK) {
    reject(path_, "entry {} is damaged", quote(name));
  }
  std::uint64_t left = found.bytes;
  while (left > 0) {
    const auto wanted = static_cast<unsigned>(std::min<std::uint64_t>(left, 1u << 30));
    const int count = unzReadCurrentFile(file_.get(), next, wanted);
    if (count <= 0) break;
    next += count;
    left -= static_cast<unsigned>(count);
  }
  const int status = unzCloseCurrentFile(file_.get());
  if (left > 0)
    reject(path_, "entry {} is damaged: {} are missing", quote(name), format_bytes(left));
  if (status == UNZ_CRCERROR) {
    reject(path_, "entry {} does not have its checksum: the file is corrupt; use another copy",
           quote(name));
  }
}

std::string Archive::read_text(const std::string& name, std::uint64_t most) const {
  if (size(name) > most) {
    reject(path_, "entry {} has {}, over the limit of {}", quote(name), format_bytes(size(name)),
           format_bytes(most));
  }
  std::string text(size(name), '\0');
  read(name, text.data());
  return text;
}

}  // namespace gradus::pytorch
