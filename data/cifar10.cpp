#include <gradus/data/cifar10.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

namespace gradus::data {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t side = 32;
constexpr std::int64_t plane = side * side;
constexpr std::int64_t image_bytes = 3 * plane;
constexpr std::int64_t record_bytes = 1 + image_bytes;
constexpr std::int64_t records_per_file = 10'000;
constexpr std::int64_t file_bytes = records_per_file * record_bytes;

std::vector<std::string> file_names(Split split) {
  if (split == Split::test) return {"test_batch.bin"};
  return {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
          "data_batch_5.bin"};
}

/// The folder with the batch files: `folder` or its cifar-10-batches-bin.
fs::path find_batches(const fs::path& folder) {
  std::error_code ignored;
  check(fs::exists(folder, ignored), "cifar10", "no such folder: {}", folder.string());
  check(fs::is_directory(folder, ignored), "cifar10", "not a folder: {}", folder.string());
  const fs::path inner = folder / "cifar-10-batches-bin";
  const fs::path batches = fs::is_directory(inner, ignored) ? inner : folder;
  const bool readable = fs::directory_iterator(batches, ignored) != fs::directory_iterator();
  check(!ignored, "cifar10", "cannot read folder {}: {}", batches.string(), ignored.message());
  check(readable, "cifar10",
        "folder is empty: {}; it should hold data_batch_1.bin .. data_batch_5.bin and "
        "test_batch.bin",
        batches.string());
  return batches;
}

void check_file(const fs::path& file) {
  std::error_code error;
  check(fs::is_regular_file(file, error), "cifar10",
        "missing file: {}; the folder should hold data_batch_1.bin .. data_batch_5.bin and "
        "test_batch.bin",
        file.string());
  const auto size = static_cast<std::int64_t>(fs::file_size(file, error));
  check(!error, "cifar10", "cannot read {}: {}", file.string(), error.message());
  check(size == file_bytes, "cifar10",
        "{} is {}: it has {} bytes, not {} (10,000 records of 3,073); fetch it again",
        file.string(), size < file_bytes ? "truncated" : "too long", size, file_bytes);
}

/// Planes R, G, B to interleaved pixels: [3, 1024] -> [1024, 3].
void interleave(const std::uint8_t* planes, std::uint8_t* pixels) {
  for (std::int64_t i = 0; i < plane; ++i) {
    pixels[3 * i + 0] = planes[i];
    pixels[3 * i + 1] = planes[plane + i];
    pixels[3 * i + 2] = planes[2 * plane + i];
  }
}

/// Reads one file into images [10000, 32, 32, 3] and labels [10000].
void read_file(const fs::path& file, std::uint8_t* images, std::int64_t* labels) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(file_bytes));
  std::ifstream stream(file, std::ios::binary);
  stream.read(reinterpret_cast<char*>(bytes.data()), file_bytes);
  check(stream.gcount() == file_bytes, "cifar10", "cannot read {}: {}", file.string(),
        std::strerror(errno));
  for (std::int64_t i = 0; i < records_per_file; ++i) {
    const std::uint8_t* record = bytes.data() + i * record_bytes;
    check(record[0] <= 9, "cifar10", "{}: record {} has label {}; labels are 0 to 9", file.string(),
          i, record[0]);
    labels[i] = record[0];
    interleave(record + 1, images + i * image_bytes);
  }
}

}  // namespace

Dataset load_cifar10(const fs::path& folder, Split split) {
  const fs::path batches = find_batches(folder);
  const auto names = file_names(split);
  for (const auto& file : names) check_file(batches / file);

  const std::int64_t count = static_cast<std::int64_t>(names.size()) * records_per_file;
  Dataset dataset{
      empty({count, side, side, 3}, {DType::uint8}),
      empty({count}, {DType::int64}),
      {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"},
      cifar10_normalization()};
  auto* images = dataset.images.data<std::uint8_t>();
  auto* labels = dataset.labels.data<std::int64_t>();
  for (const auto& file : names) {
    read_file(batches / file, images, labels);
    images += records_per_file * image_bytes;
    labels += records_per_file;
  }
  return dataset;
}

}  // namespace gradus::data
