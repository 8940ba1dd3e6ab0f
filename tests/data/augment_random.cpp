// The random choices of the augmentation: frequencies, ranges, and what they depend on.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <gradus/data/augment.h>
#include "data/internal/augment_color.h"
#include "tests/support/augmentation.h"
#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/near.h"
#include "tests/support/temp_folder.h"
#include "tests/support/view_format.h"

namespace {

using namespace gradus::data;
using gradus::test::every_step;
using gradus::test::view_format;

constexpr int side = 32;
constexpr int trials = 20'000;

AugmentParameters draw_sample(const AugmentOptions& options, std::int64_t sample) {
  return draw_parameters(options, side, side, {.seed = 7, .sample = sample});
}

bool same(const AugmentParameters& a, const AugmentParameters& b) {
  return a.crop.top == b.crop.top && a.crop.left == b.crop.left && a.crop.height == b.crop.height &&
         a.crop.width == b.crop.width && a.flip == b.flip && a.jitter == b.jitter &&
         std::equal(a.jitter_order, a.jitter_order + 4, b.jitter_order) &&
         a.brightness == b.brightness && a.contrast == b.contrast && a.saturation == b.saturation &&
         a.hue == b.hue && a.grayscale == b.grayscale && a.blur == b.blur &&
         a.blur_sigma == b.blur_sigma && a.solarize == b.solarize;
}

std::vector<std::uint8_t> test_image() {
  std::vector<std::uint8_t> image(side * side * 3);
  for (std::size_t i = 0; i < image.size(); ++i) {
    image[i] = static_cast<std::uint8_t>((i * 2654435761u) >> 11);
  }
  return image;
}

TEST_CASE("choices come with their probabilities") {
  int flip = 0, jitter = 0, gray = 0, blur = 0, solarize = 0;
  for (int i = 0; i < trials; ++i) {
    const AugmentParameters p = draw_sample(every_step(), i);
    flip += p.flip;
    jitter += p.jitter;
    gray += p.grayscale;
    blur += p.blur;
    solarize += p.solarize;
  }
  const auto frequency = [](int count) { return static_cast<double>(count) / trials; };
  // Standard deviations are at most 0.0036: five of them are 0.018.
  CHECK(std::abs(frequency(flip) - 0.5) < 0.018);
  CHECK(std::abs(frequency(jitter) - 0.8) < 0.015);
  CHECK(std::abs(frequency(gray) - 0.2) < 0.015);
  CHECK(std::abs(frequency(blur) - 0.5) < 0.018);
  CHECK(std::abs(frequency(solarize) - 0.2) < 0.015);

  for (int i = 0; i < 1000; ++i) {  // probabilities 0 and 1 leave nothing to chance
    const AugmentParameters p =
        draw_sample({.flip_probability = 1.0f, .jitter_probability = 1.0f}, i);
    REQUIRE((p.flip && p.jitter && !p.grayscale && !p.blur && !p.solarize));
  }
}

TEST_CASE("strengths fill their ranges and all 24 jitter orders come up evenly") {
  std::map<std::string, std::array<float, 2>> range;
  std::map<std::string, double> sum;
  std::map<std::array<JitterStep, 4>, int> orders;
  for (int i = 0; i < trials; ++i) {
    const AugmentParameters p = draw_sample(every_step(), i);
    const std::map<std::string, float> drawn = {{"brightness", p.brightness},
                                                {"contrast", p.contrast},
                                                {"saturation", p.saturation},
                                                {"hue", p.hue},
                                                {"sigma", p.blur_sigma}};
    for (const auto& [name, value] : drawn) {
      auto [it, fresh] = range.try_emplace(name, std::array{value, value});
      it->second = {std::min(it->second[0], value), std::max(it->second[1], value)};
      sum[name] += value;
    }
    std::array<JitterStep, 4> order;
    std::copy_n(p.jitter_order, 4, order.begin());
    REQUIRE(std::set<JitterStep>(order.begin(), order.end()).size() == 4);
    ++orders[order];
  }
  const auto check_uniform = [&](const std::string& name, float low, float high) {
    CAPTURE(name);
    CHECK(range[name][0] >= low);
    CHECK(range[name][1] <= high);
    CHECK(range[name][0] < low + 0.01f * (high - low));
    CHECK(range[name][1] > high - 0.01f * (high - low));
    CHECK(std::abs(sum[name] / trials - 0.5 * (low + high)) < 0.012 * (high - low));
  };
  check_uniform("brightness", 0.6f, 1.4f);
  check_uniform("contrast", 0.6f, 1.4f);
  check_uniform("saturation", 0.8f, 1.2f);
  check_uniform("hue", -0.1f, 0.1f);
  check_uniform("sigma", 0.1f, 2.0f);
  CHECK(orders.size() == 24);
  for (const auto& [order, count] : orders) CHECK(std::abs(count - trials / 24) < 150);
}

TEST_CASE("each factor and the blur have a range of their own option") {
  const auto changed = [](const JitterOptions& jitter) {
    const AugmentParameters p = draw_sample({.jitter = jitter}, 1);
    return std::array{p.brightness != 1.0f, p.contrast != 1.0f, p.saturation != 1.0f,
                      p.hue != 0.0f};
  };
  CHECK(changed({0.5f, 0.0f, 0.0f, 0.0f}) == std::array{true, false, false, false});
  CHECK(changed({0.0f, 0.5f, 0.0f, 0.0f}) == std::array{false, true, false, false});
  CHECK(changed({0.0f, 0.0f, 0.5f, 0.0f}) == std::array{false, false, true, false});
  CHECK(changed({0.0f, 0.0f, 0.0f, 0.5f}) == std::array{false, false, false, true});
  for (int i = 0; i < 100; ++i) {
    const float sigma = draw_sample({.blur_sigma = {3.0f, 4.0f}}, i).blur_sigma;
    REQUIRE((sigma >= 3.0f && sigma <= 4.0f));
  }
}

TEST_CASE("strong jitter never makes a factor negative") {
  const AugmentOptions options{.jitter = {3.0f, 1.0f, 2.0f, 0.5f}};
  for (int i = 0; i < 2000; ++i) {
    const AugmentParameters p = draw_sample(options, i);
    REQUIRE((p.brightness >= 0.0f && p.contrast >= 0.0f && p.saturation >= 0.0f));
    REQUIRE((p.brightness <= 4.0f && std::abs(p.hue) <= 0.5f));
  }
}

TEST_CASE("crops lie in the image and have areas and ratios in range") {
  double area_sum = 0.0;
  int smallest = side * side, largest = 0;
  std::set<int> tops;
  for (int i = 0; i < trials; ++i) {
    const CropBox box = draw_sample(every_step(), i).crop;
    REQUIRE((box.top >= 0 && box.left >= 0 && box.height >= 1 && box.width >= 1));
    REQUIRE((box.top + box.height <= side && box.left + box.width <= side));
    const int area = box.height * box.width;
    // Rounding moves each side by at most a half.
    REQUIRE(area >= (std::sqrt(0.2 * 1024) - 1) * (std::sqrt(0.2 * 1024) - 1));
    REQUIRE((box.width + 0.5) / (box.height - 0.5) >= 0.75);
    REQUIRE((box.width - 0.5) / (box.height + 0.5) <= 4.0 / 3.0);
    area_sum += area;
    smallest = std::min(smallest, area);
    largest = std::max(largest, area);
    tops.insert(box.top);
  }
  CHECK(smallest < 225);
  CHECK(largest > 950);
  CHECK(tops.size() >= 18);  // sides are 12 or more, so tops reach about 20
  CHECK(area_sum / trials / 1024 > 0.55);
  CHECK(area_sum / trials / 1024 < 0.63);
}

TEST_CASE("where no crop fits, the largest centred one is taken") {
  // A strip of ratio 8: a crop with ratio <= 4/3 and at least 90 % of the area cannot exist.
  AugmentOptions options{.random_crop = true, .crop_scale = {0.9f, 1.0f}};
  CropBox box = draw_parameters(options, 8, 64, {}).crop;
  CHECK((box.top == 0 && box.left == 26 && box.height == 8 && box.width == 11));
  box = draw_parameters(options, 64, 8, {}).crop;
  CHECK((box.top == 26 && box.left == 0 && box.height == 11 && box.width == 8));
  options.crop_ratio = {1.2f, 1.25f};  // a square image: the whole width at a ratio of 1.2
  options.crop_scale = {0.99f, 1.0f};
  box = draw_parameters(options, 32, 32, {}).crop;
  CHECK((box.top == 2 && box.left == 0 && box.height == 27 && box.width == 32));
}

TEST_CASE("parameters depend on seed, epoch, sample and view, each of them") {
  const AugmentOptions options = every_step();
  const ViewId id{.seed = 3, .epoch = 5, .sample = 11, .view = 1};
  const auto drawn = [&](const ViewId& other) {
    return draw_parameters(options, side, side, other);
  };
  CHECK(same(drawn(id), drawn(id)));
  CHECK_FALSE(same(drawn(id), drawn({.seed = 4, .epoch = 5, .sample = 11, .view = 1})));
  CHECK_FALSE(same(drawn(id), drawn({.seed = 3, .epoch = 6, .sample = 11, .view = 1})));
  CHECK_FALSE(same(drawn(id), drawn({.seed = 3, .epoch = 5, .sample = 12, .view = 1})));
  CHECK_FALSE(same(drawn(id), drawn({.seed = 3, .epoch = 5, .sample = 11, .view = 0})));
}

TEST_CASE("no choice depends on another option") {
  AugmentOptions plain = every_step();
  AugmentOptions changed = plain;
  changed.flip_probability = 0.0f;
  changed.jitter.hue = 0.0f;
  changed.blur_probability = 0.0f;
  for (int i = 0; i < 100; ++i) {
    AugmentParameters a = draw_sample(plain, i);
    const AugmentParameters b = draw_sample(changed, i);
    a.flip = a.blur = false;
    a.hue = 0.0f;
    REQUIRE(same(a, b));
  }
}

TEST_CASE("the stream of parameters stays what it is") {
  // Guards checkpoints and published runs against a change of the stream.
  const AugmentParameters p =
      draw_parameters(every_step(), side, side, {.seed = 1, .epoch = 2, .sample = 3, .view = 1});
  CHECK((p.crop.top == 4 && p.crop.left == 6 && p.crop.height == 27 && p.crop.width == 26));
  CHECK((p.flip && p.jitter && !p.grayscale && p.blur && p.solarize));
  CHECK(p.brightness == gradus::test::near(1.13968, 5e-6));  // to the digits that stand here
  CHECK(p.contrast == gradus::test::near(1.19823, 5e-6));
  CHECK(p.saturation == gradus::test::near(0.893026, 5e-6));
  CHECK(p.hue == gradus::test::near(0.0383552, 5e-6));
  CHECK(p.blur_sigma == gradus::test::near(1.98167, 5e-6));
  const std::array order{JitterStep::saturation, JitterStep::brightness, JitterStep::hue,
                         JitterStep::contrast};
  CHECK(std::equal(order.begin(), order.end(), p.jitter_order));
}

TEST_CASE("a view goes through jitter, grayscale, blur, solarize and normalisation in this order") {
  const std::vector<std::uint8_t> image = test_image();
  AugmentScratch scratch;
  AugmentOptions options = every_step();
  options.solarize_threshold = 0.3f;  // between this sample's values
  const ViewFormat format = view_format(side, side);
  AugmentParameters p = draw_sample(options, 4);
  p.crop = {0, 0, side, side};
  p.flip = false;
  p.jitter = p.blur = p.solarize = true;
  for (const bool gray : {false, true}) {
    CAPTURE(gray);
    p.grayscale = gray;
    std::vector<float> actual(image.size()), expected(image.size()), planes(image.size());
    apply(options, format, p, image.data(), actual.data(), scratch);
    constexpr int pixels = side * side;
    for (std::size_t i = 0; i < image.size(); ++i)
      planes[i % 3 * pixels + i / 3] = static_cast<float>(image[i]) / 255.0f;
    for (const JitterStep step : p.jitter_order) {
      if (step == JitterStep::brightness) adjust_brightness(planes.data(), pixels, p.brightness);
      if (step == JitterStep::contrast) adjust_contrast(planes.data(), pixels, p.contrast);
      if (step == JitterStep::saturation) adjust_saturation(planes.data(), pixels, p.saturation);
      if (step == JitterStep::hue) adjust_hue(planes.data(), pixels, p.hue);
    }
    if (gray) grayscale(planes.data(), pixels);
    gaussian_blur(format, planes.data(), p.blur_sigma, scratch.geometry);
    const auto bright = std::count_if(planes.begin(), planes.end(), [&](float value) {
      return value >= options.solarize_threshold;
    });
    CHECK(bright > pixels / 4);
    CHECK(bright < 2 * pixels);
    solarize(planes.data(), 3 * pixels, options.solarize_threshold);
    normalize(format, planes.data(), expected.data());
    CHECK(actual == expected);
  }
}

TEST_CASE("identity parameters leave the image unchanged") {
  const std::vector<std::uint8_t> image = test_image();
  AugmentScratch scratch;
  for (const Interpolation interpolation : {Interpolation::bilinear, Interpolation::bicubic}) {
    const AugmentOptions options{.interpolation = interpolation,
                                 .jitter_probability = 1.0f,
                                 .jitter = {0.0f, 0.0f, 0.0f, 0.0f}};
    const Normalization none{{0.0f, 0.0f, 0.0f}, {1.0f, 1.0f, 1.0f}};
    const AugmentParameters p = draw_sample(options, 0);
    REQUIRE(p.jitter);
    std::vector<float> output(image.size());
    apply(options, view_format(side, side, 0, none), p, image.data(), output.data(), scratch);
    for (std::size_t i = 0; i < image.size(); ++i) {
      REQUIRE(output[i] == static_cast<float>(image[i]) / 255.0f);
    }
  }
}

TEST_CASE("without options, a view is the image normalised") {
  const std::vector<std::uint8_t> image = test_image();
  AugmentScratch scratch;
  std::vector<float> output(image.size());
  apply({}, view_format(side, side), draw_sample({}, 1), image.data(), output.data(), scratch);
  const auto [mean, std] = cifar10_normalization();
  std::vector<double> expected;
  for (std::size_t i = 0; i < image.size(); ++i)
    expected.push_back((image[i] / 255.0 - mean[i % 3]) / std[i % 3]);
  CHECK(gradus::test::relative_error(output, expected) <= 5e-7);
}

TEST_CASE("a flip commutes with every later step") {
  const std::vector<std::uint8_t> image = test_image();
  AugmentScratch scratch;
  const AugmentOptions options = every_step();
  AugmentParameters p = draw_sample(options, 3);
  p.jitter = p.blur = p.solarize = true;
  std::vector<float> plain(image.size()), flipped(image.size());
  p.flip = false;
  apply(options, view_format(side, side), p, image.data(), plain.data(), scratch);
  p.flip = true;
  apply(options, view_format(side, side), p, image.data(), flipped.data(), scratch);
  int different = 0;  // the mean grey is summed in another order: solarize may cross its threshold
  for (int y = 0; y < side; ++y) {
    for (int i = 0; i < 3 * side; ++i) {
      const int mirrored = (y * side + side - 1 - i / 3) * 3 + i % 3;
      different += std::abs(plain[static_cast<std::size_t>(y * side * 3 + i)] -
                            flipped[static_cast<std::size_t>(mirrored)]) > 1e-5f;
    }
  }
  CHECK(different == 0);
}

TEST_CASE("absurd options are refused by name") {
  const auto message = [](const AugmentOptions& options) {
    return gradus::test::error_of([&] { validate(options); });
  };
  const auto contains = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  CHECK(message({.flip_probability = 1.5f}) ==
        "[augment] flip_probability must lie in [0, 1]; got 1.5");
  CHECK(contains(message({.jitter_probability = 1.5f}), "jitter_probability"));
  CHECK(contains(message({.grayscale_probability = -0.1f}), "grayscale_probability"));
  CHECK(contains(message({.blur_probability = NAN}), "blur_probability"));
  CHECK(contains(message({.solarize_probability = -0.1f}), "solarize_probability"));
  CHECK(contains(message({.size = -1}), "the views' size must lie in [1, 4096]"));
  CHECK(contains(message({.size = {0, 5}}), "got 0 x 5"));
  CHECK(message({.size = 0}).empty());
  CHECK(contains(message({.crop_scale = {0.0f, 1.0f}}), "crop_scale"));
  CHECK(contains(message({.crop_scale = {0.5f, 0.2f}}), "crop_scale"));
  CHECK(contains(message({.crop_scale = {0.5f, 2.0f}}), "crop_scale"));
  CHECK(contains(message({.crop_ratio = {-1.0f, 1.0f}}), "crop_ratio"));
  CHECK(contains(message({.crop_ratio = {1e-30f, 1.0f}}), "0.001 <= low"));
  CHECK(contains(message({.crop_scale = {0.0f, 1.0f}}), "crop_scale"));
  CHECK(contains(message({.jitter = {.hue = 0.6f}}), "hue"));
  CHECK(contains(message({.jitter = {.brightness = -1.0f}}), "jitter strengths"));
  CHECK(contains(message({.blur_sigma = {0.0f, 1.0f}}), "blur_sigma"));
  CHECK(contains(message({.solarize_threshold = NAN}), "solarize_threshold"));
}

TEST_CASE("colour steps are for images of three channels") {
  CHECK_ERROR(validate({.jitter_probability = 0.5f}, 1),
              "[augment] colour jitter and grayscale need images of 3 channels (red, green, blue); "
              "these have 1");
  CHECK_ERROR(validate({.grayscale_probability = 0.5f}, 4), "these have 4");
  const AugmentOptions others{.random_crop = true,
                              .flip_probability = 0.5f,
                              .blur_probability = 0.5f,
                              .solarize_probability = 0.2f};
  CHECK_NOTHROW(validate(others, 1));
}

TEST_CASE("crops of tiny and oblong images have a pixel at any ratio") {
  const std::vector<std::array<float, 2>> ratios = {
      {0.75f, 4.0f / 3}, {3.0f, 4.0f}, {0.001f, 0.002f}, {500.0f, 1000.0f}, {0.001f, 1000.0f}};
  for (const auto& [height, width] :
       {std::pair{1, 1}, {1, 2}, {2, 1}, {1, 1000}, {1000, 1}, {3, 5}, {2, 64}}) {
    const std::vector<std::uint8_t> image(static_cast<std::size_t>(height * width * 3), 128);
    for (const auto& ratio : ratios) {
      for (int sample = 0; sample < 50; ++sample) {
        CAPTURE(height);
        CAPTURE(width);
        CAPTURE(ratio[0]);
        const AugmentOptions options{
            .size = 2, .random_crop = true, .crop_scale = {0.01f, 1.0f}, .crop_ratio = ratio};
        const auto p = draw_parameters(options, height, width, {.seed = 1, .sample = sample});
        REQUIRE(p.crop.height >= 1);
        REQUIRE(p.crop.width >= 1);
        REQUIRE(p.crop.top >= 0);
        REQUIRE(p.crop.left >= 0);
        REQUIRE(p.crop.top + p.crop.height <= height);
        REQUIRE(p.crop.left + p.crop.width <= width);
        float output[2 * 2 * 3];
        AugmentScratch scratch;
        apply(options, view_format(height, width, 2), p, image.data(), output, scratch);
        for (const float value : output) REQUIRE(std::isfinite(value));
      }
    }
  }
}

}  // namespace
