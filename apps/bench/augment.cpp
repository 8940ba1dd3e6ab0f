// Augmented views a second on one core, for each recipe and for each operation alone.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

#include <gradus/data/augment.h>
#include <gradus/data/cifar10.h>
#include "common/command_line.h"
#include "common/program.h"
#include "vicreg/recipes.h"

namespace {

using namespace gradus::data;

constexpr int side = 32;
constexpr int image_bytes = side * side * 3;

/// Views a second when each of `images` is augmented once a pass, for at least `seconds` of
/// processor time.
double measure(const AugmentOptions& options, const std::vector<std::uint8_t>& images,
               double seconds) {
  const auto count = static_cast<std::int64_t>(images.size()) / image_bytes;
  AugmentScratch scratch;
  std::vector<float> output(image_bytes);
  const Normalization normalization = cifar10_normalization();
  const ViewFormat format{.height = side,
                          .width = side,
                          .channels = 3,
                          .view_height = side,
                          .view_width = side,
                          .mean = normalization.mean.data(),
                          .std = normalization.std.data()};
  const std::clock_t start = std::clock();  // processor time: other programs do not count
  double elapsed = 0.0;
  std::int64_t views = 0;
  for (std::int64_t epoch = 0; elapsed < seconds; ++epoch) {
    for (std::int64_t i = 0; i < count; ++i) {
      const AugmentParameters parameters =
          draw_parameters(options, side, side, {.seed = 1, .epoch = epoch, .sample = i});
      apply(options, format, parameters, images.data() + i * image_bytes, output.data(), scratch);
    }
    views += count;
    elapsed = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  }
  return static_cast<double>(views) / elapsed;
}

std::vector<std::pair<std::string, AugmentOptions>> cases() {
  const auto only_jitter = [](JitterOptions jitter) {
    return AugmentOptions{.jitter_probability = 1.0f, .jitter = jitter};
  };
  using namespace gradus::vicreg;
  return {{"vicreg recipe", augment_options({.augment = Augmentation::vicreg})},
          {"solo-learn recipe", augment_options({.augment = Augmentation::solo_learn})},
          {"linear evaluation", classifier_augmentation(0.2f)},
          {"normalise only", {}},
          {"+ crop, bilinear", {.random_crop = true}},
          {"+ crop, bicubic", {.random_crop = true, .interpolation = Interpolation::bicubic}},
          {"+ brightness", only_jitter({0.4f, 0.0f, 0.0f, 0.0f})},
          {"+ contrast", only_jitter({0.0f, 0.4f, 0.0f, 0.0f})},
          {"+ saturation", only_jitter({0.0f, 0.0f, 0.2f, 0.0f})},
          {"+ hue", only_jitter({0.0f, 0.0f, 0.0f, 0.1f})},
          {"+ grayscale", {.grayscale_probability = 1.0f}},
          {"+ blur", {.blur_probability = 1.0f}},
          {"+ solarize", {.solarize_probability = 1.0f}}};
}

void run(double seconds) {
  std::vector<std::uint8_t> images(1000 * image_bytes);
  for (std::size_t i = 0; i < images.size(); ++i) {
    images[i] = static_cast<std::uint8_t>((i * 2654435761u) >> 13);
  }
  fmt::print("{:<20} {:>12} {:>10}\n", "augmentation", "views/s/core", "us/view");
  for (const auto& [name, options] : cases()) {
    const double rate = measure(options, images, seconds);
    fmt::print("{:<20} {:>12.0f} {:>10.2f}\n", name, rate, 1e6 / rate);
  }
}

}  // namespace

int main(int argc, char** argv) {
  gradus::apps::CommandLine app("Augmented 32x32 views a second on one core", "augment");
  double seconds = 1.0;
  app.add_option("--seconds", seconds, "Processor time for each case")
      ->check(CLI::Range(0.001, 3600.0));
  return gradus::apps::run_program(app, argc, argv, [&] { run(seconds); });
}
