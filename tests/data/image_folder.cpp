#include <gradus/data/image_folder.h>

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>

#include "tests/support/command.h"
#include "tests/support/errors.h"
#include "tests/support/image_files.h"
#include "tests/support/temp_folder.h"

namespace {

namespace fs = std::filesystem;
using namespace gradus;
using namespace gradus::data;
using namespace gradus::test;

/// A PNG of one colour, whose red names it.
void write_png(const fs::path& path, std::uint8_t red, std::uint32_t width = 4,
               std::uint32_t height = 4) {
  fs::create_directories(path.parent_path());
  write_text(path, png_file(width, height, flat_pixels(width, height, red, 10, 20)));
}

/// The red of each image's first pixel.
std::vector<int> reds(const Dataset& dataset) {
  std::vector<int> values;
  const std::int64_t bytes = dataset.images.numel() / dataset.size();
  for (std::int64_t i = 0; i < dataset.size(); ++i)
    values.push_back(dataset.images.data<std::uint8_t>()[i * bytes]);
  return values;
}

std::vector<std::int64_t> labels(const Dataset& dataset) {
  return dataset.labels.to_vector<std::int64_t>();
}

Dataset load(const TempFolder& folder, Split split = Split::train,
             const ImageFolderOptions& options = {}) {
  const ImageFolder loaded = load_image_folder(folder.path(), split, options);
  CHECK(loaded.skipped.empty());
  validate(loaded.dataset);
  return loaded.dataset;
}

std::string problem(const TempFolder& folder, Split split = Split::train,
                    const ImageFolderOptions& options = {}) {
  return error_of([&] { load_image_folder(folder.path(), split, options); });
}

}  // namespace

TEST_CASE("a file that is too large for an image is not read") {
  const TempFolder folder;
  write_png(folder / "train/dog/a.png", 11);
  write_text(folder / "train/dog/b.png", "");
  fs::resize_file(folder / "train/dog/b.png",
                  std::uintmax_t{1} << 40);  // takes no room on the disk
  CHECK(contains(problem(folder), "b.png: it has "));
  const ImageFolder loaded =
      load_image_folder(folder.path(), Split::train, {.skip_unreadable = true});
  CHECK(loaded.skipped.size() == 1);
  CHECK(reds(loaded.dataset) == std::vector{11});
}

TEST_CASE("a folder a class: names, labels, and the order that shows all classes first") {
  const TempFolder folder;
  write_png(folder / "train/dog/a.png", 11);
  write_png(folder / "train/dog/b.PNG", 12);
  write_png(folder / "train/a cat/1.png", 1);
  write_png(folder / "train/a cat/2 b.png", 2);
  write_png(folder / "train/a cat/sub/deep/3.png", 3);  // after 2: by path
  write_png(folder / "train/\u017e\u00e1ba/\u00e9.png", 21);
  write_png(folder / "test/dog/x.png", 31);
  const Dataset train = load(folder);
  CHECK(train.class_names == std::vector<std::string>{"a cat", "dog", "\u017e\u00e1ba"});
  CHECK(train.images.shape() == Shape{6, 4, 4, 3});
  CHECK(reds(train) == std::vector<int>{1, 11, 21, 2, 12, 3});
  CHECK(labels(train) == std::vector<std::int64_t>{0, 1, 2, 0, 1, 0});
  CHECK(reds(load(folder, Split::train, {.limit = 4})) == std::vector<int>{1, 11, 21, 2});
  CHECK(load(folder, Split::train, {.limit = 7}).size() == 6);
  const Dataset test = load(folder, Split::test);
  CHECK(test.class_names == train.class_names);
  CHECK(labels(test) == std::vector<std::int64_t>{1});
}

TEST_CASE("images in no folder have no labels, whatever test has") {
  const TempFolder folder;
  write_png(folder / "train/b.png", 2);
  write_png(folder / "train/a.png", 1);
  write_png(folder / "test/cat/c.png", 3);
  const Dataset train = load(folder);
  CHECK_FALSE(train.is_labelled());
  CHECK(train.class_names.empty());
  CHECK(reds(train) == std::vector<int>{1, 2});
  CHECK(reds(train.take(1)) == std::vector<int>{1});
  CHECK_FALSE(load(folder, Split::test).is_labelled());
}

TEST_CASE("test images in no folder are refused where the images to train on have classes") {
  const TempFolder folder;
  write_png(folder / "train/cat/a.png", 1);
  write_png(folder / "train/dog/b.png", 2);
  write_png(folder / "test/c.png", 3);
  CHECK(contains(problem(folder, Split::test), (folder / "test/c.png").string() +
                                                   " is in no folder, but the images to train on "
                                                   "have classes; put each into a folder"));
  CHECK(load(folder).is_labelled());
}

TEST_CASE("any size and shape becomes the size asked for") {
  const TempFolder folder;
  write_png(folder / "train/one.png", 1, 1, 1);
  write_png(folder / "train/wide.png", 2, 4000, 10);
  write_png(folder / "train/high.png", 3, 3, 50);
  write_text(folder / "train/x.JPEG", jpeg_file(30, 20, flat_pixels(30, 20, 90, 10, 20)));
  const Dataset train = load(folder, Split::train, {.size = 6});
  CHECK(train.images.shape() == Shape{4, 6, 6, 3});
  for (std::int64_t i = 0; i < train.images.numel(); i += 108) {
    const auto* image = train.images.data<std::uint8_t>() + i;
    for (std::int64_t p = 3; p < 108; ++p) CHECK(image[p] == image[p % 3]);
  }
  CHECK(contains(problem(folder), "the images differ in size: " +
                                      (folder / "train/high.png").string() + " has 3x50 pixels, "));
  CHECK(contains(problem(folder), "name one size for all"));
  CHECK(contains(problem(folder, Split::train, {.size = 1 << 22}), "memory"));  // 192 TiB
}

TEST_CASE("images need not be square where all have one size") {
  const TempFolder folder;
  write_png(folder / "train/a.png", 1, 7, 5);
  write_png(folder / "train/b.png", 2, 7, 5);
  CHECK(load(folder).images.shape() == Shape{2, 5, 7, 3});
}

TEST_CASE("files that cannot be read are counted and named, or left out") {
  const TempFolder folder;
  write_png(folder / "train/cat/good.png", 5);
  write_png(folder / "train/dog/good.png", 6);
  const std::string png = read_text(folder / "train/dog/good.png");
  write_text(folder / "train/cat/a text.png", "these are words");
  write_text(folder / "train/cat/empty.jpg", "");
  write_text(folder / "train/dog/cut.png", png.substr(0, png.size() / 2));
  const std::string first = (folder / "train/cat/a text.png").string();
  const std::string error = problem(folder);
  CHECK(contains(error, fmt::format("[images] 3 of 5 images in {} cannot be read, first {}: it is "
                                    "neither PNG nor JPEG",
                                    (folder / "train").string(), first)));
  CHECK(contains(error, "; mend or remove them, or skip unreadable ones"));
  CHECK(lines_of(error).size() == 1);

  const ImageFolder loaded =
      load_image_folder(folder.path(), Split::train, {.skip_unreadable = true});
  CHECK(reds(loaded.dataset) == std::vector<int>{6, 5});
  CHECK(labels(loaded.dataset) == std::vector<std::int64_t>{1, 0});
  REQUIRE(loaded.skipped.size() == 3);
  CHECK(loaded.skipped[0].starts_with(first + ": it is neither"));
  CHECK(loaded.skipped[1].starts_with((folder / "train/dog/cut.png").string() +
                                      ": it is a damaged PNG"));
  CHECK(loaded.skipped[2] == (folder / "train/cat/empty.jpg").string() + ": it is empty");

  fs::remove(folder / "train/cat/good.png");
  fs::remove(folder / "train/dog/good.png");
  CHECK(contains(problem(folder, Split::train, {.skip_unreadable = true}), "3 of 3 images"));
}

TEST_CASE("files with other names are left out and told, hidden ones without a word") {
  const TempFolder folder;
  write_png(folder / "train/cat/good.png", 5);
  write_text(folder / "train/cat/.DS_Store", "x");
  write_text(folder / "train/.hidden/picture.png", "x");
  write_text(folder / "train/cat/photo.webp", "x");
  write_text(folder / "train/labels.csv", "x");
  fs::create_directory_symlink(folder / "train" / "cat", folder / "train/linked");
  const ImageFolder loaded = load_image_folder(folder.path(), Split::train, {});
  CHECK(reds(loaded.dataset) == std::vector<int>{5, 5});
  CHECK(loaded.dataset.class_names == std::vector<std::string>{"cat", "linked"});
  REQUIRE(loaded.skipped.size() == 3);
  CHECK(loaded.skipped[0] ==
        (folder / "train/labels.csv").string() + ": its name does not end in .png, .jpg or .jpeg");
}

TEST_CASE("links to folders are followed, and those that lead back are refused") {
  const TempFolder folder;
  write_png(folder / "elsewhere/deep/b.png", 2);
  write_png(folder / "train/cat/a.png", 1);
  fs::create_directory_symlink(folder / "elsewhere", folder / "train/cat/more");
  CHECK(reds(load(folder)) == std::vector<int>{1, 2});

  const fs::path back = folder / "elsewhere/deep/back";
  for (const char* target : {"elsewhere", "train", "train/cat"}) {
    CAPTURE(target);
    fs::create_directory_symlink(folder / target, back);
    CHECK(contains(problem(folder), (folder / "train/cat/more/deep/back").string() +
                                        " is a link to a folder that it lies in"));
    fs::remove(back);
  }
  // Whichever folder is met again, the link is named.
  const fs::path up = folder / "train/cat/up";
  fs::create_directory_symlink(folder.path(), up);
  CHECK(contains(problem(folder), up.string() + " is a link to a folder that it lies in"));
}

TEST_CASE("a pipe with an image's name is refused, and not waited for") {
  const TempFolder folder;
  write_png(folder / "train/a.png", 1);
  REQUIRE(::mkfifo((folder / "train/b.png").c_str(), 0600) == 0);
  CHECK(
      contains(problem(folder), (folder / "train/b.png").string() + ": it is not a regular file"));
}

TEST_CASE("folders that cannot be a data set are told in one line") {
  const TempFolder folder;
  CHECK(contains(problem(folder), "there is no folder " + (folder / "train").string()));
  fs::create_directory(folder / "train");
  CHECK(contains(problem(folder), (folder / "train").string() + " has no .png, .jpg or .jpeg"));
  write_png(folder / "train/cat/a.png", 1);
  CHECK(contains(problem(folder, Split::test), "there is no folder " + (folder / "test").string()));
  write_png(folder / "test/zebra/a.png", 1);
  CHECK(contains(problem(folder, Split::test), (folder / "test/zebra").string() + " is a class"));
  fs::create_directory(folder / "train/dog");
  CHECK(contains(problem(folder), (folder / "train/dog").string() + " has no .png"));
  fs::remove(folder / "train/dog");
  write_png(folder / "train/loose.png", 1);
  CHECK(contains(problem(folder), "has images in no folder (" +
                                      (folder / "train/loose.png").string() +
                                      ") beside folders (cat)"));
  fs::remove(folder / "train/loose.png");
  CHECK(problem(folder).empty());
  if (::geteuid() == 0) return;  // who may read everything
  fs::permissions(folder / "train/cat", fs::perms::none);
  CHECK(contains(problem(folder), "cannot read folder"));
  fs::permissions(folder / "train/cat", fs::perms::owner_all);
  fs::permissions(folder / "train/cat/a.png", fs::perms::none);
  CHECK(contains(problem(folder), "cannot be opened: Permission denied"));
}

TEST_CASE("the normalisation that is measured") {
  const Tensor images =
      from_vector<std::uint8_t>({0, 7, 100, 255, 7, 110, 0, 7, 100, 255, 7, 90}, {2, 1, 2, 3});
  const Normalization measured = measure_normalization(images);
  CHECK(measured.mean == std::vector<float>{0.5f, 7.0f / 255, 100.0f / 255});
  CHECK(measured.std == std::vector<float>{0.5f, 1.0f / 255, std::sqrt(50.0f) / 255});
  CHECK_ERROR(measure_normalization(empty({0, 1, 1, 3}, {DType::uint8})), "not empty");
}
