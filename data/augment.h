// The random augmentation of self-supervised training, with torchvision's semantics on float images
// in [0, 1]. Drawing the random choices (small plain structs) and applying them are separate steps.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "data/augment_geometry.h"
#include "data/cifar10.h"

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
/// that flip last are covered too.) The defaults do nothing but normalise with CIFAR-10's
/// statistics.
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
  std::array<float, 3> mean = {cifar10_mean[0], cifar10_mean[1], cifar10_mean[2]};
  std::array<float, 3> std = {cifar10_std[0], cifar10_std[1], cifar10_std[2]};
};

/// Throws Error if a value is out of range.
void validate(const AugmentOptions& options);

/// VICReg's (Bardes et al., ICLR 2022) for CIFAR-10: crop of 20 to 100 %, bilinear; flip 0.5;
/// jitter (0.4, 0.4, 0.2, 0.1) with probability 0.8; grayscale 0.2; blur 0.5; solarize 0.2.
AugmentOptions vicreg_augmentation();
/// solo-learn's VICReg recipe for CIFAR-10: bicubic crop, no blur, solarize 0.1; the rest as above.
AugmentOptions solo_learn_augmentation();
/// For training a linear classifier: random resized crop and flip. `minimum_scale` 0.08 gives
/// torchvision's default, which solo-learn's offline evaluation uses.
AugmentOptions linear_eval_train_augmentation(float minimum_scale = 0.2f);
/// For test images.
AugmentOptions normalize_only();

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

/// Which view of which sample is drawn. A view's parameters depend on nothing else.
struct ViewId {
  std::uint64_t seed = 0;
  std::int64_t epoch = 0;
  std::int64_t sample = 0;  ///< index in the data set
  int view = 0;
};

/// Draws the parameters for an image of `height` x `width`. The numbers are those of Philox with
/// key `seed` and counter words (block, sample, Domain::augment + view, epoch): block 0 decides
/// what is applied, block 1 holds the jitter's factors, block 2 its order and the blur, and block 3
/// + k the k-th of up to 10 tries for a crop that fits. So no choice depends on another option's
/// value.
AugmentParameters draw_parameters(const AugmentOptions& options, int height, int width,
                                  const ViewId& id);

/// What `apply` works in; one a thread, reused from image to image.
struct AugmentScratch {
  GeometryScratch geometry;
  std::vector<float> planes;  // [3, size, size]
};

/// Makes one view: `image` uint8 [height, width, 3], `output` float [size, size, 3].
/// The crop box must lie within the image.
void apply(const AugmentOptions& options, const AugmentParameters& parameters,
           const std::uint8_t* image, int width, float* output, AugmentScratch& scratch);

}  // namespace gradus::data
