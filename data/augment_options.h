// What an augmentation does: its options, the random choices of one view, and which image a view is
// made of. Plain structs that a kernel can be handed; no fmt here: nvcc reads this header.
#pragma once

#include <array>
#include <cstdint>

#include <gradus/data/augment_geometry.h>
#include <gradus/tensor/size2.h>

namespace gradus::data {

/// Strengths of the colour jitter. The factors of brightness, contrast and saturation are uniform
/// on [max(0, 1 - v), 1 + v], v in [0, 100], the hue's shift on [-hue, hue] of a full turn, hue in
/// [0, 0.5]; the four come in random order. A strength of 0 leaves that one out.
struct JitterOptions {
  float brightness = 0.4f;
  float contrast = 0.4f;
  float saturation = 0.2f;
  float hue = 0.1f;
};

/// The whole augmentation. The steps come in this order: random resized crop, flip, colour jitter,
/// grayscale, blur, solarize, normalise. Each is done to a view with its probability. (A flip
/// commutes with all steps after the crop, so recipes that flip last are covered too.) The defaults
/// do nothing but normalise. Jitter and grayscale are for images of red, green and blue; the other
/// steps take any number of channels. Probabilities are in [0, 1], sizes at most 4096; of each
/// range the first value is not above the second: crop_scale in (0, 1], crop_ratio in [0.001,
/// 1000], blur_sigma in (0, 1000].
struct AugmentOptions {
  Size2 size = 0;            ///< of the views, in pixels; 0: that of the images
  bool random_crop = false;  ///< otherwise the whole image is resized to `size` (a copy if equal)
  std::array<float, 2> crop_scale = {0.2f, 1.0f};  ///< range of the crop's area, of the image's
  std::array<float, 2> crop_ratio = {0.75f, 4.0f / 3.0f};  ///< range of its width / height
  Interpolation interpolation = Interpolation::bilinear;
  float flip_probability = 0.0f;
  float jitter_probability = 0.0f;
  JitterOptions jitter = {};
  float grayscale_probability = 0.0f;
  float blur_probability = 0.0f;
  std::array<float, 2> blur_sigma = {0.1f, 2.0f};  ///< range of the standard deviation, in pixels
  float solarize_probability = 0.0f;
  float solarize_threshold = 0.5f;  ///< values from here on, of [0, 1], are inverted

  /// Size of the views of images of this size.
  constexpr Size2 view_size(Size2 image) const { return size == Size2(0) ? image : size; }
};

/// Throws Error if a value is out of range, or a step is not for images of that many channels.
void validate(const AugmentOptions& options, std::int64_t channels = 3);

/// The four operations of the colour jitter.
enum class JitterStep : std::uint8_t { brightness, contrast, saturation, hue };

/// Every random choice for one view of one image: a plain struct that a kernel can be handed.
struct AugmentParameters {
  CropBox crop;
  bool flip;
  bool jitter;
  JitterStep jitter_order[4];  ///< from the first to the last
  float brightness;            ///< a factor, as the next two
  float contrast;
  float saturation;
  float hue;  ///< the shift, of a full turn
  bool grayscale;
  bool blur;
  float blur_sigma;  ///< pixels
  bool solarize;
};

/// A view to make: of which image, and with which random choices.
struct AugmentedView {
  std::int64_t sample;  ///< index in the data set
  AugmentParameters parameters;
};

}  // namespace gradus::data
