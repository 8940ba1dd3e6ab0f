#include "vicreg/pictures.h"

#include <doctest/doctest.h>
#include <png.h>

#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/errors.h"
#include "tests/support/temp_folder.h"

using namespace gradus;
using namespace gradus::vicreg;
using namespace gradus::test;

namespace {

const data::Normalization normalization{{0.5f, 0.25f, 0.0f}, {0.25f, 0.5f, 1.0f}};

struct Picture {
  std::int64_t width, height;
  std::vector<std::uint8_t> pixels;
  std::array<int, 3> at(std::int64_t x, std::int64_t y) const {
    const std::uint8_t* pixel = pixels.data() + (y * width + x) * 3;
    return {pixel[0], pixel[1], pixel[2]};
  }
};

Picture read_png(const std::filesystem::path& path) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  REQUIRE(png_image_begin_read_from_file(&image, path.c_str()) != 0);
  image.format = PNG_FORMAT_RGB;
  Picture picture{image.width, image.height, std::vector<std::uint8_t>(PNG_IMAGE_SIZE(image))};
  REQUIRE(png_image_finish_read(&image, nullptr, picture.pixels.data(), 0, nullptr) != 0);
  return picture;
}

/// Images of one colour each.
template <class T>
Tensor flat(std::vector<std::array<T, 3>> colors, std::int64_t size) {
  std::vector<T> values;
  for (const auto& color : colors) {
    for (std::int64_t i = 0; i < size * size; ++i) {
      values.insert(values.end(), color.begin(), color.end());
    }
  }
  return from_vector(values, {static_cast<std::int64_t>(colors.size()), size, size, 3});
}

Metrics example_metrics(std::int64_t steps, std::int64_t epochs, bool knn) {
  Metrics metrics;
  for (std::int64_t s = 1; s <= steps; ++s) {
    const double decay = std::exp(-3.0 * static_cast<double>(s) / static_cast<double>(steps));
    metrics.steps.push_back({.step = s,
                             .epoch = 1,
                             .learning_rate = 1e-3,
                             .loss = {.total = 20 + 10 * decay,
                                      .invariance = 0.3 + 0.2 * decay,
                                      .variance = 0.5,
                                      .covariance = 1.5}});
  }
  for (std::int64_t e = 1; e <= epochs; ++e) {
    EpochRecord record{
        .epoch = e, .std_mean = 0.9, .std_min = 0.5, .effective_rank = 100.0 + 5.0 * double(e)};
    if (knn) record.knn_accuracy = 0.5;
    metrics.epochs.push_back(record);
  }
  return metrics;
}

std::string curves(const Metrics& metrics) {
  const TempFolder folder;
  write_curves(folder / "curves.svg", metrics);
  return read_text(folder / "curves.svg");
}

std::size_t occurrences(const std::string& text, const std::string& what) {
  std::size_t count = 0;
  for (std::size_t at = text.find(what); at != text.npos; at = text.find(what, at + 1)) ++count;
  return count;
}

/// Whether every tag is closed in the right order (no attribute here holds '<' or '>').
bool well_formed(const std::string& svg) {
  std::vector<std::string> open;
  for (std::size_t at = svg.find('<'); at != svg.npos; at = svg.find('<', at + 1)) {
    const std::size_t end = svg.find('>', at);
    if (end == svg.npos) return false;
    const std::string tag = svg.substr(at + 1, end - at - 1);
    const std::string name = tag.substr(0, tag.find(' '));
    if (name[0] == '/') {
      if (open.empty() || open.back() != name.substr(1)) return false;
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
    }
  }
  return open.empty();
}

}  // namespace

TEST_CASE("augmentation grid: original and denormalised views side by side") {
  const TempFolder folder;
  const Tensor images = flat<std::uint8_t>({{10, 20, 30}, {40, 50, 60}}, 4);
  // 0.5 + 0.25 * 2 = 1, 0.25 + 0.5 * 1 = 0.75, 0 + 1 * 0.2 = 0.2; and values beyond [0, 1].
  const Tensor view1 = flat<float>({{2, 1, 0.2f}, {9, -9, NAN}}, 4);
  const Tensor view2 = flat<float>({{-2, -0.5f, 0}, {0, 0.5f, 1}}, 4);
  write_augmentation_grid(folder / "a.png", images, {view1, view2}, normalization);
  const Picture picture = read_png(folder / "a.png");
  const std::int64_t side = 12, gap = 6, margin = 30;
  CHECK(picture.width == 3 * side + 2 * gap + 2 * margin);
  CHECK(picture.height == 2 * side + gap + 2 * margin);
  using Color = std::array<int, 3>;
  const auto cell = [&](int column, int row, std::int64_t offset) {
    return picture.at(margin + column * (side + gap) + offset,
                      margin + row * (side + gap) + offset);
  };
  for (const std::int64_t offset : {std::int64_t{0}, side - 1}) {  // both corners of each image
    CHECK(cell(0, 0, offset) == Color{10, 20, 30});
    CHECK(cell(1, 0, offset) == Color{255, 191, 51});
    CHECK(cell(2, 0, offset) == Color{0, 0, 0});
    CHECK(cell(0, 1, offset) == Color{40, 50, 60});
    CHECK(cell(1, 1, offset) == Color{255, 0, 0});
    CHECK(cell(2, 1, offset) == Color{128, 128, 255});
  }
  CHECK(cell(0, 0, side) == Color{255, 255, 255});
  CHECK(picture.at(0, 0) == Color{255, 255, 255});
}

TEST_CASE("augmentation grid: pixels keep their places") {
  const TempFolder folder;
  const Tensor image = from_vector<std::uint8_t>(
      {1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6}, {1, 2, 3, 3});
  write_augmentation_grid(folder / "a.png", image, {zeros({1, 2, 3, 3}), zeros({1, 2, 3, 3})},
                          normalization);
  const Picture picture = read_png(folder / "a.png");
  for (int y = 0; y < 6; ++y) {
    for (int x = 0; x < 9; ++x) CHECK(picture.at(30 + x, 30 + y)[0] == y / 3 * 3 + x / 3 + 1);
  }
}

TEST_CASE("augmentation grid: any number of images and views") {
  const TempFolder folder;
  for (const std::int64_t count : {1, 8, 9, 16, 17}) {
    const Tensor images = empty({count, 2, 2, 3}, {.dtype = DType::uint8});
    for (const std::int64_t views : {0, 1, 2, 5}) {
      const std::vector<Tensor> list(static_cast<std::size_t>(views), zeros({count, 2, 2, 3}));
      write_augmentation_grid(folder / "a.png", images, list, normalization);
      CHECK(read_png(folder / "a.png").width ==
            (count + 7) / 8 * ((1 + views) * 6 + views * 6 + 30) + 30);
    }
  }
}

TEST_CASE("augmentation grid: shapes that do not fit") {
  const TempFolder folder;
  const Tensor images = empty({2, 4, 4, 3}, {.dtype = DType::uint8});
  const auto error = [&](const Tensor& shown, const Tensor& view) {
    return error_of([&] { write_augmentation_grid(folder / "a", shown, {view}, normalization); });
  };
  CHECK(error(images, zeros({2, 4, 5, 3})) ==
        "[pictures] the views must have the images' shape; got images [2, 4, 4, 3] and a view "
        "[2, 4, 5, 3]");
  CHECK(error(empty({0, 4, 4, 3}, {.dtype = DType::uint8}), zeros({0, 4, 4, 3})) ==
        "[pictures] images must be [K, H, W, 3]; got [0, 4, 4, 3]");
}

TEST_CASE("curves: a panel for each quantity") {
  const std::string svg = curves(example_metrics(50, 5, true));
  CHECK(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
  CHECK(well_formed(svg));
  for (const char* title : {"Loss", "Invariance", "Variance", "Covariance", "Embedding std",
                            "Effective rank", "kNN accuracy, %", "Learning rate"}) {
    CHECK(occurrences(svg, std::string(">") + title + "</text>") == 1);
  }
  CHECK(occurrences(svg, "<polyline") == 9);  // two in the panel of the std
  CHECK(occurrences(svg, "<polygon") == 0);   // nothing was averaged
  CHECK(svg.find("last 125<") != std::string::npos);
}

TEST_CASE("curves: a long run is averaged and the file stays small") {
  const std::string svg = curves(example_metrics(100'000, 500, true));
  CHECK(well_formed(svg));
  CHECK(svg.size() < 200'000);
  CHECK(occurrences(svg, "<polygon") == 3);  // loss, invariance, effective rank
}

TEST_CASE("curves: nothing, one record, and what was not measured") {
  const std::string nothing = curves({});
  CHECK(well_formed(nothing));
  CHECK(occurrences(nothing, "no data yet") == 7);
  CHECK(occurrences(nothing, "not measured") == 1);
  const std::string one = curves(example_metrics(1, 1, false));
  CHECK(well_formed(one));
  CHECK(occurrences(one, "<circle") == 8);
  CHECK(occurrences(one, "not measured") == 1);
}

TEST_CASE("curves: values that are not finite are left out") {
  Metrics metrics = example_metrics(20, 1, false);
  metrics.steps[7].loss.total = std::numeric_limits<double>::quiet_NaN();
  metrics.steps[8].loss.covariance = std::numeric_limits<double>::infinity();
  for (StepRecord& record : metrics.steps)
    record.loss.variance = std::numeric_limits<double>::quiet_NaN();
  const std::string svg = curves(metrics);
  CHECK(well_formed(svg));
  CHECK(occurrences(svg, "nan") == 0);
  CHECK(occurrences(svg, "inf,") == 0);
  CHECK(occurrences(svg, "no data yet") == 1);
}
