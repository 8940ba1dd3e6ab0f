// CIFAR-100 and STL-10: files of zeros in the official layout, with a few bytes set.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>

#include <gradus/data/cifar100.h>
#include <gradus/data/stl10.h>
#include "tests/support/command.h"
#include "tests/support/errors.h"
#include "tests/support/temp_folder.h"

namespace {

namespace fs = std::filesystem;
using namespace gradus;
using namespace gradus::data;
using namespace gradus::test;

std::int64_t label(const Dataset& dataset, std::int64_t i) {
  return dataset.labels.data<std::int64_t>()[i];
}

std::uint8_t pixel(const Dataset& dataset, std::int64_t i, std::int64_t y, std::int64_t x,
                   std::int64_t c) {
  return dataset.images
      .data<std::uint8_t>()[((i * dataset.height() + y) * dataset.width() + x) * 3 + c];
}

}  // namespace

TEST_CASE("CIFAR-100: fine labels, planes by rows") {
  const TempFolder folder;
  constexpr std::int64_t record = 3074;
  for (const fs::path& given : {folder / "cifar-100-binary", folder.path()}) {
    fs::create_directories(given);
    write_zeros(given / "train.bin", 50'000 * record);
    write_zeros(given / "test.bin", 10'000 * record);
    overwrite(given / "train.bin", 40'000 * record, "\x13\x63");  // coarse 19, fine 99
    overwrite(given / "train.bin", 40'000 * record + 2 + 1024 + 5 * 32 + 6, "\x07");
    overwrite(given / "test.bin", 9'999 * record + 1, "\x05");
    const Dataset train = load_cifar100(folder.path(), Split::train);
    CHECK(train.images.shape() == Shape{50'000, 32, 32, 3});
    REQUIRE(train.class_names.size() == 100);
    CHECK(std::is_sorted(train.class_names.begin(), train.class_names.end()));
    CHECK(train.class_names[99] == "worm");
    CHECK(label(train, 40'000) == 99);
    CHECK(label(train, 39'999) == 0);
    CHECK(pixel(train, 40'000, 5, 6, 1) == 7);
    CHECK(pixel(train, 40'000, 6, 5, 1) == 0);
    CHECK(train.normalization.mean.empty());
    const Dataset test = load_cifar100(folder.path(), Split::test);
    CHECK(test.size() == 10'000);
    CHECK(label(test, 9'999) == 5);
    validate(test);
    fs::remove_all(given);
  }
}

TEST_CASE("CIFAR-100: what is wrong is told in one line") {
  const TempFolder folder;
  const fs::path train = folder / "train.bin";
  const auto error = [&] { return error_of([&] { load_cifar100(folder.path(), Split::train); }); };
  CHECK(contains(error(), "[cifar100] folder is empty: "));
  write_zeros(folder / "test.bin", 1);
  CHECK(contains(error(), "missing file: " + train.string()));
  for (const std::int64_t bytes : {0, 153'699'999, 50'000 * 3073}) {
    write_zeros(train, bytes);
    CHECK(contains(error(), fmt::format("train.bin is truncated: it has {} bytes, not 153700000 "
                                        "(50000 records of 3074)",
                                        bytes)));
  }
  write_zeros(train, 153'700'001);
  CHECK(contains(error(), "too long"));
  write_zeros(train, 153'700'000);
  overwrite(train, 12 * 3074 + 1, "\x64");
  CHECK(contains(error(), "train.bin: record 12 has label 100; labels are 0 to 99"));
}

TEST_CASE("STL-10: planes by columns, labels from 1; the unlabelled images") {
  const TempFolder folder;
  constexpr std::int64_t plane = 96 * 96, image = 3 * plane;
  const fs::path inner = folder / "stl10_binary";
  fs::create_directory(inner);
  write_zeros(inner / "test_X.bin", 8'000 * image);
  overwrite(inner / "test_X.bin", 7'000 * image + 2 * plane + 5 * 96 + 6, "\x09");
  std::string labels(8'000, '\x01');
  labels[7'000] = '\x0a';
  write_text(inner / "test_y.bin", labels);
  const Dataset test = load_stl10(folder.path(), Split::test);
  CHECK(test.images.shape() == Shape{8'000, 96, 96, 3});
  CHECK(test.class_names == std::vector<std::string>{"airplane", "bird", "car", "cat", "deer",
                                                     "dog", "horse", "monkey", "ship", "truck"});
  CHECK(label(test, 7'000) == 9);
  CHECK(label(test, 6'999) == 0);
  CHECK(pixel(test, 7'000, 6, 5, 2) == 9);  // the fifth column's sixth pixel
  CHECK(pixel(test, 7'000, 5, 6, 2) == 0);
  validate(test);

  write_zeros(inner / "unlabeled_X.bin", 100'000 * image);
  overwrite(inner / "unlabeled_X.bin", 2 * image, "\x03");
  const Dataset unlabelled = load_stl10_unlabeled(folder.path(), 3);
  CHECK(unlabelled.images.shape() == Shape{3, 96, 96, 3});
  CHECK(pixel(unlabelled, 2, 0, 0, 0) == 3);
  CHECK_FALSE(unlabelled.is_labelled());
  validate(unlabelled);
  CHECK_ERROR(load_stl10_unlabeled(folder.path(), 0), "at least 1");
}

TEST_CASE("STL-10: what is wrong is told in one line") {
  const TempFolder folder;
  const auto error = [&](Split split) {
    return error_of([&] { load_stl10(folder.path(), split); });
  };
  CHECK(contains(error(Split::train), "[stl10] folder is empty: "));
  write_text(folder / "train_y.bin", std::string(4'999, '\x01'));
  CHECK(contains(error(Split::train), "train_y.bin is truncated: it has 4999 bytes, not 5000"));
  write_text(folder / "train_y.bin", std::string(4'999, '\x01') + '\0');
  CHECK(contains(error(Split::train), "missing file: " + (folder / "train_X.bin").string()));
  write_zeros(folder / "train_X.bin", 5'000 * 27'648 - 1);
  CHECK(contains(error(Split::train), "train_X.bin is truncated"));
  write_zeros(folder / "train_X.bin", 5'000 * 27'648);
  CHECK(contains(error(Split::train), "train_y.bin: record 4999 has label 0; labels are 1 to 10"));
  write_zeros(folder / "unlabeled_X.bin", 100'000LL * 27'648 + 1);
  CHECK_ERROR(load_stl10_unlabeled(folder.path(), 3), "unlabeled_X.bin is too long");
}
