#include <gradus/data/augment.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <gradus/data/counters.h>
#include <gradus/tensor/check.h>
#include "data/internal/augment_color.h"

namespace gradus::data {
namespace {

constexpr int crop_tries = 10;

/// Blocks of random words of one view.
enum Block : std::uint32_t { decisions = 0, jitter_factors = 1, jitter_order = 2, crops = 3 };

/// Random numbers of one view, by block.
struct ViewDraws {
  std::uint64_t seed;
  std::uint64_t sample;
  std::uint64_t high;

  explicit ViewDraws(const ViewId& id)
      : seed(id.seed),
        sample(static_cast<std::uint64_t>(id.sample)),
        high(counter_high(Domain::augment, static_cast<std::uint32_t>(id.view),
                          static_cast<std::uint64_t>(id.epoch))) {}

  PhiloxBlock block(std::uint32_t index) const { return draw(seed, index, sample, high); }
};

/// The nearest number of pixels, at least 1, of an image's `most`.
int rounded_side(float side, int most) {
  return static_cast<int>(std::clamp(std::nearbyint(side), 1.0f, static_cast<float>(most)));
}

/// Where no try fitted: the largest centred crop whose ratio lies in the range, or, where that has
/// no pixel, the one of a single row or column.
CropBox centred_crop(const AugmentOptions& options, int height, int width) {
  const float ratio = static_cast<float>(width) / static_cast<float>(height);
  int h = height, w = width;
  if (ratio < options.crop_ratio[0]) {
    h = rounded_side(static_cast<float>(width) / options.crop_ratio[0], height);
  } else if (ratio > options.crop_ratio[1]) {
    w = rounded_side(static_cast<float>(height) * options.crop_ratio[1], width);
  }
  return {(height - h) / 2, (width - w) / 2, h, w};
}

/// A = H W U(scale), r = exp(U(ln ratio)): w = round(sqrt(A r)), h = round(sqrt(A / r)), half to
/// even.
CropBox draw_crop(const AugmentOptions& options, int height, int width, const ViewDraws& draws) {
  if (!options.random_crop) return {0, 0, height, width};
  const float log_low = std::log(options.crop_ratio[0]);
  const float log_high = std::log(options.crop_ratio[1]);
  for (std::uint32_t k = 0; k < crop_tries; ++k) {
    const PhiloxBlock u = draws.block(crops + k);
    const float area = static_cast<float>(height) * static_cast<float>(width) *
                       uniform_between(u.word[0], options.crop_scale[0], options.crop_scale[1]);
    const float ratio = std::exp(uniform_between(u.word[1], log_low, log_high));
    const int w = static_cast<int>(std::nearbyint(std::sqrt(area * ratio)));
    const int h = static_cast<int>(std::nearbyint(std::sqrt(area / ratio)));
    if (w < 1 || w > width || h < 1 || h > height) continue;
    const auto free_rows = static_cast<std::uint32_t>(height - h + 1);
    const auto free_columns = static_cast<std::uint32_t>(width - w + 1);
    return {static_cast<int>(uniform_below(u.word[2], free_rows)),
            static_cast<int>(uniform_below(u.word[3], free_columns)), h, w};
  }
  return centred_crop(options, height, width);
}

/// A factor uniform on [max(0, 1 - strength), 1 + strength].
float draw_factor(std::uint32_t word, float strength) {
  return uniform_between(word, std::max(0.0f, 1.0f - strength), 1.0f + strength);
}

/// One of the 24 orders, by Fisher-Yates on the digits of a number below 24.
void draw_order(std::uint32_t word, JitterStep order[4]) {
  std::uint32_t code = uniform_below(word, 24);
  for (int i = 0; i < 4; ++i) order[i] = static_cast<JitterStep>(i);
  for (std::uint32_t i = 3; i > 0; --i) {
    std::swap(order[i], order[code % (i + 1)]);
    code /= i + 1;
  }
}

void apply_jitter(const AugmentParameters& p, float* planes, int pixels) {
  for (JitterStep step : p.jitter_order) {
    switch (step) {
      case JitterStep::brightness:
        if (p.brightness != 1.0f) adjust_brightness(planes, pixels, p.brightness);
        break;
      case JitterStep::contrast:
        if (p.contrast != 1.0f) adjust_contrast(planes, pixels, p.contrast);
        break;
      case JitterStep::saturation:
        if (p.saturation != 1.0f) adjust_saturation(planes, pixels, p.saturation);
        break;
      case JitterStep::hue:
        if (p.hue != 0.0f) adjust_hue(planes, pixels, p.hue);
        break;
    }
  }
}

void check_probability(std::string_view what, float value) {
  check(value >= 0.0f && value <= 1.0f, "augment", "{} must lie in [0, 1]; got {}", what, value);
}

void check_range(std::string_view what, std::array<float, 2> range, float lowest, float highest) {
  check(range[0] >= lowest && range[0] <= range[1] && range[1] <= highest, "augment",
        "{} must satisfy {} <= low <= high <= {}; got {}, {}", what, lowest, highest, range[0],
        range[1]);
}

}  // namespace

void validate(const AugmentOptions& options, std::int64_t channels) {
  const auto [height, width] = options.size;
  check(options.size == Size2(0) || (height >= 1 && height <= 4096 && width >= 1 && width <= 4096),
        "augment",
        "the views' size must lie in [1, 4096], or be 0 for the images' own; got {} x {}", height,
        width);
  constexpr float smallest = std::numeric_limits<float>::min();
  check_range("crop_scale", options.crop_scale, smallest, 1.0f);
  check_range("crop_ratio", options.crop_ratio, 0.001f, 1000.0f);
  check_range("blur_sigma", options.blur_sigma, smallest, 1000.0f);
  check_probability("flip_probability", options.flip_probability);
  check_probability("jitter_probability", options.jitter_probability);
  check_probability("grayscale_probability", options.grayscale_probability);
  check_probability("blur_probability", options.blur_probability);
  check_probability("solarize_probability", options.solarize_probability);
  const JitterOptions& jitter = options.jitter;
  for (float strength : {jitter.brightness, jitter.contrast, jitter.saturation}) {
    check(strength >= 0.0f && strength <= 100.0f, "augment",
          "jitter strengths must lie in [0, 100]; got {}", strength);
  }
  check(jitter.hue >= 0.0f && jitter.hue <= 0.5f, "augment",
        "jitter's hue must lie in [0, 0.5]; got {}", jitter.hue);
  check(std::isfinite(options.solarize_threshold), "augment",
        "solarize_threshold must be finite; got {}", options.solarize_threshold);
  check(channels == 3 || (options.jitter_probability == 0 && options.grayscale_probability == 0),
        "augment",
        "colour jitter and grayscale need images of 3 channels (red, green, blue); these have {}",
        channels);
}

AugmentParameters draw_parameters(const AugmentOptions& options, int height, int width,
                                  const ViewId& id) {
  const ViewDraws draws(id);
  const PhiloxBlock decide = draws.block(decisions);
  const PhiloxBlock factor = draws.block(jitter_factors);
  const PhiloxBlock order = draws.block(jitter_order);
  AugmentParameters p{};
  p.crop = draw_crop(options, height, width, draws);
  p.flip = uniform_float(decide.word[0]) < options.flip_probability;
  p.jitter = uniform_float(decide.word[1]) < options.jitter_probability;
  p.grayscale = uniform_float(decide.word[2]) < options.grayscale_probability;
  p.solarize = uniform_float(decide.word[3]) < options.solarize_probability;
  p.brightness = draw_factor(factor.word[0], options.jitter.brightness);
  p.contrast = draw_factor(factor.word[1], options.jitter.contrast);
  p.saturation = draw_factor(factor.word[2], options.jitter.saturation);
  p.hue = uniform_between(factor.word[3], -options.jitter.hue, options.jitter.hue);
  draw_order(order.word[0], p.jitter_order);
  p.blur = uniform_float(order.word[1]) < options.blur_probability;
  p.blur_sigma = uniform_between(order.word[2], options.blur_sigma[0], options.blur_sigma[1]);
  return p;
}

void apply(const AugmentOptions& options, const ViewFormat& format,
           const AugmentParameters& parameters, const std::uint8_t* image, float* output,
           AugmentScratch& scratch) {
  const int pixels = format.view_pixels(), values = format.view_values();
  scratch.planes.resize(static_cast<std::size_t>(values));
  float* planes = scratch.planes.data();
  resized_crop(format, image, parameters.crop, options.interpolation, parameters.flip, planes,
               scratch.geometry);
  if (parameters.jitter) apply_jitter(parameters, planes, pixels);
  if (parameters.grayscale) grayscale(planes, pixels);
  if (parameters.blur) gaussian_blur(format, planes, parameters.blur_sigma, scratch.geometry);
  if (parameters.solarize) solarize(planes, values, options.solarize_threshold);
  normalize(format, planes, output);
}

}  // namespace gradus::data
