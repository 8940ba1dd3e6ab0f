#include <gradus/data/cifar10.h>

#include "data/internal/images.h"
#include "data/internal/records.h"

namespace gradus::data {
namespace {

constexpr RecordFolder official{
    .dataset = "cifar10",
    .name = "cifar-10-batches-bin",
    .contents = "data_batch_1.bin .. data_batch_5.bin and test_batch.bin"};
constexpr RecordFormat format{.label_bytes = 1, .classes = 10, .side = 32};
constexpr std::int64_t records_per_file = 10'000;

std::vector<std::string> file_names(Split split) {
  if (split == Split::test) return {"test_batch.bin"};
  return {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
          "data_batch_5.bin"};
}

}  // namespace

Dataset load_cifar10(const std::filesystem::path& folder, Split split) {
  const std::filesystem::path batches = find_folder(official, folder);
  const auto names = file_names(split);
  for (const auto& name : names) check_file(official, batches / name, format, records_per_file);

  const std::int64_t count = static_cast<std::int64_t>(names.size()) * records_per_file;
  Dataset dataset{
      empty_images(count, format.side, format.side),
      empty({count}, {DType::int64}),
      {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"},
      cifar10_normalization()};
  std::int64_t first = 0;
  for (const auto& name : names) {
    const std::int64_t end = first + records_per_file;
    dataset.labels.slice(first, end)
        .copy_from(read_records(official, batches / name, format, records_per_file,
                                dataset.images.slice(first, end)));
    first = end;
  }
  return dataset;
}

}  // namespace gradus::data
