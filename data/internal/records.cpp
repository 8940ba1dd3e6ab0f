#include "data/internal/records.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include <gradus/tensor/check.h>

namespace gradus::data {
namespace {

namespace fs = std::filesystem;

/// Planes to interleaved pixels: [3, side, side] -> [side, side, 3].
void interleave(const RecordFormat& format, const std::uint8_t* planes, std::uint8_t* pixels) {
  const std::int64_t side = format.side, plane = side * side;
  for (std::int64_t y = 0; y < side; ++y) {
    for (std::int64_t x = 0; x < side; ++x) {
      const std::uint8_t* red = planes + (format.by_columns ? x * side + y : y * side + x);
      for (std::int64_t c = 0; c < 3; ++c) *pixels++ = red[c * plane];
    }
  }
}

}  // namespace

fs::path find_folder(const RecordFolder& expected, const fs::path& folder) {
  std::error_code ignored;
  check(fs::exists(folder, ignored), expected.dataset, "no such folder: {}", folder.string());
  check(fs::is_directory(folder, ignored), expected.dataset, "not a folder: {}", folder.string());
  const fs::path inner = folder / expected.name;
  const fs::path found = fs::is_directory(inner, ignored) ? inner : folder;
  const bool has_files = fs::directory_iterator(found, ignored) != fs::directory_iterator();
  check(!ignored, expected.dataset, "cannot read folder {}: {}", found.string(), ignored.message());
  check(has_files, expected.dataset, "folder is empty: {}; it should hold {}", found.string(),
        expected.contents);
  return found;
}

void check_file(const RecordFolder& folder, const fs::path& file, const RecordFormat& format,
                std::int64_t records) {
  std::error_code error;
  check(fs::is_regular_file(file, error), folder.dataset,
        "missing file: {}; the folder should hold {}", file.string(), folder.contents);
  const auto size = static_cast<std::int64_t>(fs::file_size(file, error));
  check(!error, folder.dataset, "cannot read {}: {}", file.string(), error.message());
  const std::int64_t expected = records * format.bytes();
  check(size == expected, folder.dataset,
        "{} is {}: it has {} bytes, not {} ({} records of {}); fetch it again", file.string(),
        size < expected ? "truncated" : "too long", size, expected, records, format.bytes());
}

Tensor read_records(const RecordFolder& folder, const fs::path& file, const RecordFormat& format,
                    std::int64_t count, Tensor images) {
  std::vector<std::uint8_t> record(static_cast<std::size_t>(format.bytes()));
  Tensor labels = format.label_bytes > 0 ? empty({count}, {DType::int64}) : Tensor();
  std::int64_t* const classes = labels.defined() ? labels.data<std::int64_t>() : nullptr;
  std::uint8_t* pixels = format.side > 0 ? images.data<std::uint8_t>() : nullptr;
  std::ifstream stream(file, std::ios::binary);
  for (std::int64_t i = 0; i < count; ++i) {
    errno = 0;
    stream.read(reinterpret_cast<char*>(record.data()), format.bytes());
    check(stream.gcount() == format.bytes(), folder.dataset, "cannot read {}: {}", file.string(),
          errno != 0 ? std::strerror(errno) : "it has become shorter");
    if (classes != nullptr) {
      const std::int64_t label = record[static_cast<std::size_t>(format.label)];
      classes[i] = label - format.first_label;
      check(classes[i] >= 0 && classes[i] < format.classes, folder.dataset,
            "{}: record {} has label {}; labels are {} to {}", file.string(), i, label,
            format.first_label, format.first_label + format.classes - 1);
    }
    if (pixels == nullptr) continue;
    interleave(format, record.data() + format.label_bytes, pixels);
    pixels += 3 * format.side * format.side;
  }
  return labels;
}

}  // namespace gradus::data
