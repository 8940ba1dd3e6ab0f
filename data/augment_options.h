// What an augmentation does: its options, the random choices of one view, and which image a view is
// made of. Plain structs that a kernel can be handed; no fmt here: nvcc reads this header.
#pragma once

#include <array>
#include <cstdint>

#include <gradus/data/augment_geometry.h>

namespace gradus::data {

/// Colour jitter: factors are uniform on [max(0, 1 - v), 1 + v], the hue shift on [-hue, hue] of a
/// full turn; the four come in random order. A strength of 0 leaves that one out.
struct JitterOptions {
  float brightness = 0.4f;
  float contrast = 0.4f;
  float saturation = 0.2f;
  float hue = 0.1f;
};

/// The whole augmentation. The steps come in this order: random resized crop, flip, colour jitter,
/// grayscale, blur, solarize, normalise. (A flip commutes with all steps after the crop, so recipes
/// that flip last are covered too.) The defaults do nothing but scale pixels to [0, 1].
struct AugmentOptions {
  int size = 32;             ///< output height and width
  bool random_crop = false;  ///< otherwise the whole image is resized to `size` (a copy if equal)
  std::array<float, 2> crop_scale = {0.2f, 1.0f};          ///< area of the crop, of the image's
  std::array<float, 2> crop_ratio = {0.75f, 4.0f / 3.0f};  ///< width / height of the crop
  Interpolation interpolation = Interpolation::bilinear;
  float flip_probability = 0.0f;
  float jitter_probability = 0.0f;
  JitterOptions jitter = {};
  float grayscale_probability = 0.0f;
  float blur_probability = 0.0f;
  std::array<float, 2> blur_sigma = {0.1f, 2.0f};
  float solarize_probability = 0.0f;
  float solarize_threshold = 0.5f;
  std::array<float, 3> mean = {0.0f, 0.0f, 0.0f};  ///< of pixels in [0, 1], by channel
  std::array<float, 3> std = {1.0f, 1.0f, 1.0f};
};

/// Throws Error if a value is out of range.
void validate(const AugmentOptions& options);

/// The four operations of the colour jitter.
enum class JitterStep : std::uint8_t { brightness, contrast, saturation, hue };

/// Every random choice for one view of one image: a plain struct that a kernel can be handed.
struct AugmentParameters {
  CropBox crop;
  bool flip;
  bool jitter;
  JitterStep jitter_order[4];
  float brightness;
  float contrast;
  float saturation;
  float hue;
  bool grayscale;
  bool blur;
  float blur_sigma;
  bool solarize;
};

/// A view to make: of which image, and with which random choices.
struct AugmentedView {
  std::int64_t sample;  ///< index in the data set
  AugmentParameters parameters;
};

}  // namespace gradus::data
