// A folder with a batch file that the input describes is read right, or refused with an Error. The
// input is not the file, whose size is given, but what is unlike in it: a byte for the folder's
// form, then changes of five bytes each: a position (little-endian) and a value.
#include <gradus/data/cifar10.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <map>

#include <gradus/tensor/check.h>
#include "tests/fuzz/require.h"
#include "tests/support/temp_folder.h"

namespace {

using namespace gradus;
using namespace gradus::test;
namespace fs = std::filesystem;

constexpr std::int64_t plane = 32 * 32, record_bytes = 1 + 3 * plane, records = 10'000;
constexpr std::int64_t file_bytes = records * record_bytes;

using Changes = std::map<std::int64_t, std::uint8_t>;

Changes parse_changes(const std::uint8_t* data, std::size_t size) {
  Changes changes;
  for (; size >= 5; data += 5, size -= 5) {
    std::uint32_t position = 0;
    for (int i = 3; i >= 0; --i) position = position << 8 | data[i];
    changes[position % file_bytes] = data[4];
  }
  return changes;
}

void write_changes(const fs::path& path, const Changes& changes) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  for (const auto& [position, value] : changes) {
    file.seekp(position);
    file.put(static_cast<char>(value));
  }
}

/// Makes the batch file, of zeros: as it should be, or of a wrong size, or no file.
void shape_file(const fs::path& path, std::uint8_t form) {
  fs::remove_all(path);
  if (form % 8 == 1) return;
  if (form % 8 == 2) {
    fs::create_directory(path);
    return;
  }
  write_text(path, "");
  const std::int64_t off = form % 8 == 3 ? -1 - form : form % 8 == 4 ? 1 + form : 0;
  fs::resize_file(path, static_cast<std::uintmax_t>(file_bytes + off));
}

void check_dataset(const data::Dataset& dataset, const Changes& changes) {
  require(dataset.size() == records, "all records");
  for (std::int64_t i = 0; i < records; ++i)
    require(dataset.labels.data<std::int64_t>()[i] <= 9, "labels are digits");
  for (const auto& [position, value] : changes) {
    const std::int64_t record = position / record_bytes, byte = position % record_bytes - 1;
    if (byte < 0) {
      require(dataset.labels.data<std::int64_t>()[record] == value, "the label");
    } else {
      const std::int64_t pixel = record * plane + byte % plane;
      require(dataset.images.data<std::uint8_t>()[pixel * 3 + byte / plane] == value, "the pixel");
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const TempFolder folder;
  if (size == 0) return 0;
  const auto path = folder / "test_batch.bin";
  shape_file(path, data[0]);
  const Changes changes = parse_changes(data + 1, size - 1);
  if (fs::is_regular_file(path)) write_changes(path, changes);
  try {
    check_dataset(data::load_cifar10(folder.path(), data::Split::test), changes);
    require(fs::file_size(path) == file_bytes, "only a file of the right size is read");
  } catch (const Error& error) {
    require(error.message().starts_with("[cifar10] "), "an error says where");
  }
  return 0;
}
