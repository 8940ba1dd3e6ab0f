// Every augmentation step, and whole chains, against torchvision's values
// (tests/reference/generate_augment.py).
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include <gradus/data/augment.h>
#include "data/internal/augment_color.h"
#include "tests/support/compare.h"
#include "tests/support/files.h"
#include "tests/support/view_format.h"

namespace {

using namespace gradus::data;
using gradus::test::relative_error;
using gradus::test::view_format;
using Json = nlohmann::json;

struct Reference {
  int height;
  int width;
  std::vector<std::uint8_t> pixels;  // [height, width, 3]
  Json cases;
};

Reference load(const std::string& group) {
  static const Json all =
      Json::parse(std::ifstream(gradus::test::file_path("tests/reference/augment.json")));
  const Json& entry = all.at(group);
  return {entry.at("height"), entry.at("width"), entry.at("pixels"), entry.at("cases")};
}

/// [pixels, 3] uint8 -> planes [3, pixels] in [0, 1].
std::vector<float> to_planes(const std::vector<std::uint8_t>& pixels) {
  const std::size_t count = pixels.size() / 3;
  std::vector<float> planes(pixels.size());
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t c = 0; c < 3; ++c) {
      planes[c * count + i] = static_cast<float>(pixels[3 * i + c]) / 255.0f;
    }
  }
  return planes;
}

std::vector<float> values_of(const Json& test) { return test.at("values"); }

CropBox to_box(const Json& box) { return {box[0], box[1], box[2], box[3]}; }

Interpolation to_interpolation(const Json& mode) {
  return mode == "bicubic" ? Interpolation::bicubic : Interpolation::bilinear;
}

TEST_CASE("resized crops match torchvision's") {
  const Reference reference = load("resize");
  GeometryScratch scratch;
  REQUIRE(reference.cases.size() == 18);
  for (const Json& test : reference.cases) {
    CAPTURE(test.at("box").dump());
    CAPTURE(test.at("interpolation"));
    const int size = test.at("size");
    std::vector<float> planes(static_cast<std::size_t>(3 * size * size));
    resized_crop(view_format(reference.height, reference.width, size), reference.pixels.data(),
                 to_box(test.at("box")), to_interpolation(test.at("interpolation")),
                 test.at("flip"), planes.data(), scratch);
    CHECK(relative_error(planes, values_of(test)) < 2.5e-6);
  }
}

TEST_CASE("colour operations match torchvision's") {
  const Reference reference = load("colour");
  const int pixels = reference.height * reference.width;
  REQUIRE(reference.cases.size() == 23);
  for (const Json& test : reference.cases) {
    const std::string step = test.at("step");
    const float factor = test.at("factor");
    CAPTURE(step);
    CAPTURE(factor);
    std::vector<float> planes = to_planes(reference.pixels);
    const std::vector<float> expected = values_of(test);
    if (step == "brightness") adjust_brightness(planes.data(), pixels, factor);
    if (step == "contrast") adjust_contrast(planes.data(), pixels, factor);
    if (step == "saturation") adjust_saturation(planes.data(), pixels, factor);
    if (step == "hue") adjust_hue(planes.data(), pixels, factor);
    if (step == "grayscale") grayscale(planes.data(), pixels);
    if (step == "solarize") solarize(planes.data(), 3 * pixels, factor);
    if (step == "normalize") {
      std::vector<float> interleaved(planes.size());
      normalize(view_format(reference.height, reference.width), planes.data(), interleaved.data());
      for (std::size_t i = 0; i < interleaved.size(); ++i) {
        planes[i % 3 * static_cast<std::size_t>(pixels) + i / 3] = interleaved[i];
      }
    }
    CHECK(relative_error(planes, expected) < 4e-6);
  }
}

TEST_CASE("contrast is about the mean grey of a large image, too") {
  constexpr int pixels = 1 << 22;
  std::vector<float> planes(std::size_t{3} * pixels, 0.21F);
  adjust_contrast(planes.data(), pixels, 0);
  CHECK(std::abs(planes.front() - 0.21F) < 1e-4F);
  CHECK(std::ranges::count(planes, planes.front()) == std::ssize(planes));
}

TEST_CASE("blurs match torchvision's") {
  const Reference reference = load("blur");
  const std::vector<float> image = to_planes(reference.pixels);
  GeometryScratch scratch;
  REQUIRE(reference.cases.size() == 12);
  for (const Json& test : reference.cases) {
    const int size = test.at("size");
    CAPTURE(size);
    std::vector<float> planes;
    for (int c = 0; c < 3; ++c) {
      for (int y = 0; y < size; ++y) {
        const auto row = image.begin() + (c * reference.height + y) * reference.width;
        planes.insert(planes.end(), row, row + size);
      }
    }
    gaussian_blur(view_format(size, size), planes.data(), test.at("sigma"), scratch);
    CHECK(relative_error(planes, values_of(test)) < 1e-6);
  }
}

TEST_CASE("whole augmentations match torchvision's") {
  const Reference reference = load("full");
  const std::map<std::string, JitterStep> steps = {{"brightness", JitterStep::brightness},
                                                   {"contrast", JitterStep::contrast},
                                                   {"saturation", JitterStep::saturation},
                                                   {"hue", JitterStep::hue}};
  AugmentScratch scratch;
  REQUIRE(reference.cases.size() == 3);
  for (const Json& test : reference.cases) {
    AugmentOptions options;
    options.interpolation = to_interpolation(test.at("interpolation"));
    AugmentParameters p{};
    p.crop = to_box(test.at("box"));
    p.flip = test.at("flip");
    p.jitter = test.at("jitter");
    for (std::size_t i = 0; i < 4; ++i) p.jitter_order[i] = steps.at(test.at("order")[i]);
    p.brightness = test.at("brightness");
    p.contrast = test.at("contrast");
    p.saturation = test.at("saturation");
    p.hue = test.at("hue");
    p.grayscale = test.at("grayscale");
    p.blur = test.at("blur");
    p.blur_sigma = test.at("sigma");
    p.solarize = test.at("solarize");
    std::vector<float> output(32 * 32 * 3);
    apply(options, view_format(reference.height, reference.width, 32), p, reference.pixels.data(),
          output.data(), scratch);
    CHECK(relative_error(output, values_of(test)) < 6e-5);  // five digits are stored
  }
}

}  // namespace
