#include <gradus/data/stl10.h>

#include <algorithm>

#include <gradus/tensor/check.h>
#include "data/internal/images.h"
#include "data/internal/records.h"

namespace gradus::data {
namespace {

constexpr RecordFolder official{
    .dataset = "stl10",
    .name = "stl10_binary",
    .contents = "train_X.bin, train_y.bin, test_X.bin, test_y.bin and unlabeled_X.bin"};
constexpr RecordFormat image_format{.side = 96, .by_columns = true};
constexpr RecordFormat label_format{.label_bytes = 1, .first_label = 1, .classes = 10};

/// The first `count` images of a file that has `records`.
Tensor read_images(const std::filesystem::path& file, std::int64_t records, std::int64_t count) {
  check_file(official, file, image_format, records);
  Tensor images = empty_images(count, image_format.side, image_format.side);
  read_records(official, file, image_format, count, images);
  return images;
}

}  // namespace

Dataset load_stl10(const std::filesystem::path& folder, Split split) {
  const std::filesystem::path found = find_folder(official, folder);
  const std::int64_t count = split == Split::train ? 5'000 : 8'000;
  const auto file = found / fmt::format("{}_y.bin", name(split));
  check_file(official, file, label_format, count);
  const Tensor images = read_images(found / fmt::format("{}_X.bin", name(split)), count, count);
  return {images,
          read_records(official, file, label_format, count, {}),
          {"airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"}};
}

Dataset load_stl10_unlabeled(const std::filesystem::path& folder, std::int64_t count) {
  constexpr std::int64_t records = 100'000;
  check(count >= 1, "stl10", "the number of images must be at least 1; got {}", count);
  const auto file = find_folder(official, folder) / "unlabeled_X.bin";
  return {read_images(file, records, std::min(count, records)), {}};
}

}  // namespace gradus::data
