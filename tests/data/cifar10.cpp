#include <gradus/data/cifar10.h>

#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/command.h"
#include "tests/support/errors.h"
#include "tests/support/temp_folder.h"

namespace {

namespace fs = std::filesystem;
using namespace gradus;
using namespace gradus::data;
using gradus::test::contains;
using gradus::test::overwrite;
using gradus::test::TempFolder;
using gradus::test::write_zeros;

constexpr std::uintmax_t file_bytes = 30'730'000;  // 10,000 images
const std::vector<std::string> train_files = {"data_batch_1.bin", "data_batch_2.bin",
                                              "data_batch_3.bin", "data_batch_4.bin",
                                              "data_batch_5.bin"};

std::string error_of(const fs::path& folder, Split split) {
  return gradus::test::error_of([&] { load_cifar10(folder, split); });
}

TEST_CASE("planes become interleaved pixels, and records keep the files' order") {
  TempFolder folder;
  const fs::path batches = folder.path() / "cifar-10-batches-bin";
  fs::create_directory(batches);
  for (const auto& file : train_files)
    write_zeros(batches / file, file_bytes);  // black, with label 0
  std::string record(3073, '\7');
  for (std::size_t i = 0; i < 3072; ++i) record[1 + i] = static_cast<char>(i * 2654435761u >> 13);
  overwrite(batches / "data_batch_3.bin", 3073 * 4321, record);
  overwrite(batches / "data_batch_5.bin", 3073 * 9999, "\x09");

  for (const fs::path& given : {folder.path(), batches}) {
    const Dataset train = load_cifar10(given, Split::train);
    REQUIRE(train.size() == 50'000);
    CHECK(train.images.shape() == Shape{50'000, 32, 32, 3});
    CHECK(train.images.dtype() == DType::uint8);
    CHECK(train.labels.shape() == Shape{50'000});
    CHECK(train.class_names == std::vector<std::string>{"airplane", "automobile", "bird", "cat",
                                                        "deer", "dog", "frog", "horse", "ship",
                                                        "truck"});
    for (const Normalization& normalization : {train.normalization, train.take(3).normalization}) {
      CHECK(normalization.mean == cifar10_normalization().mean);
      CHECK(normalization.std == cifar10_normalization().std);
    }
    CHECK(train.take(3).class_names == train.class_names);
    const std::int64_t index = 20'000 + 4321;
    const auto* labels = train.labels.data<std::int64_t>();
    CHECK(labels[index] == 7);
    CHECK(labels[index - 1] == 0);
    CHECK(labels[49'999] == 9);
    const auto* image = train.images.data<std::uint8_t>() + index * 3072;
    for (std::size_t pixel = 0; pixel < 1024; ++pixel) {
      for (std::size_t c = 0; c < 3; ++c) {
        REQUIRE(image[3 * pixel + c] == static_cast<std::uint8_t>(record[1 + 1024 * c + pixel]));
      }
    }
    CHECK(image[-1] == 0);
    CHECK(image[3072] == 0);
  }
}

TEST_CASE("the test split is test_batch.bin") {
  TempFolder folder;
  write_zeros(folder.path() / "test_batch.bin", file_bytes);
  overwrite(folder.path() / "test_batch.bin", 0, "\x04");
  const Dataset test = load_cifar10(folder.path(), Split::test);
  CHECK(test.size() == 10'000);
  CHECK(test.labels.data<std::int64_t>()[0] == 4);
  CHECK(test.take(10).size() == 10);
  CHECK(test.take(10).images.shares_storage(test.images));
  CHECK(test.take(20'000).size() == 10'000);
  CHECK_THROWS_AS(test.take(0), Error);
}

TEST_CASE("a bad folder is told in one line") {
  TempFolder folder;
  const fs::path missing = folder.path() / "nowhere";
  CHECK(error_of(missing, Split::train) == "[cifar10] no such folder: " + missing.string());
  CHECK(contains(error_of(folder.path(), Split::train),
                 "folder is empty: " + folder.path().string()));
  fs::create_directory(folder.path() / "cifar-10-batches-bin");
  CHECK(contains(error_of(folder.path(), Split::train), "folder is empty: "));
  write_zeros(folder.path() / "file", 10);
  CHECK(contains(error_of(folder.path() / "file", Split::train), "not a folder: "));
}

TEST_CASE("a missing file is named") {
  TempFolder folder;
  for (const auto& file : train_files) {
    if (file != "data_batch_4.bin") write_zeros(folder.path() / file, file_bytes);
  }
  CHECK(contains(error_of(folder.path(), Split::train),
                 "missing file: " + (folder.path() / "data_batch_4.bin").string()));
  CHECK(contains(error_of(folder.path(), Split::test), "test_batch.bin"));
}

TEST_CASE("a truncated or over-long file is told with its size") {
  TempFolder folder;
  const fs::path file = folder.path() / "test_batch.bin";
  for (const std::uintmax_t bytes : {std::uintmax_t{0}, file_bytes - 1}) {
    write_zeros(file, bytes);
    CHECK(error_of(folder.path(), Split::test) ==
          fmt::format("[cifar10] {} is truncated: it has {} bytes, not 30730000 (10000 records of "
                      "3073); fetch it again",
                      file.string(), bytes));
  }
  write_zeros(file, file_bytes + 1);
  CHECK(contains(error_of(folder.path(), Split::test), "too long: it has 30730001 bytes"));
}

TEST_CASE("a label over 9 is told with file and record") {
  TempFolder folder;
  const fs::path file = folder.path() / "test_batch.bin";
  write_zeros(file, file_bytes);
  overwrite(file, 3073 * 1234, "\x0a");
  CHECK(error_of(folder.path(), Split::test) ==
        fmt::format("[cifar10] {}: record 1234 has label 10; labels are 0 to 9", file.string()));
}

}  // namespace
