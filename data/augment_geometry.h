// Resizing, flipping and blurring of one image. Pixels come in as uint8 [H, W, C] and leave as
// float planes [C, view height, view width] in [0, 1], the layout that the colour operations work
// on.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include <gradus/tensor/host_device.h>

namespace gradus::data {

/// How a resize samples the source. Neither filters before it shrinks (no antialias), and pixel
/// centres lie at half-integers (align_corners = false), as in torch.nn.functional.interpolate.
enum class Interpolation : std::uint8_t {
  bilinear,
  bicubic,  ///< Keys' kernel with a = -0.75 (IEEE ASSP 29(6), 1981); results are clamped to [0, 1]
};

/// Number of source pixels that one output pixel reads along an axis.
GRADUS_HOST_DEVICE constexpr int tap_count(Interpolation interpolation) {
  return interpolation == Interpolation::bilinear ? 2 : 4;
}

/// The source pixels that an output pixel reads along one axis, and their weights.
struct ResizeTaps {
  int index[4];
  float weight[4];
};

/// `index`, or the nearest of 0 and size - 1 where it lies outside.
GRADUS_HOST_DEVICE inline int clamp_index(int index, int size) {
  return index < 0 ? 0 : (index < size ? index : size - 1);
}

/// Taps of output pixel `target` when `source_size` pixels become `target_size`.
/// Bilinear: s = max((target + 0.5) source_size / target_size - 0.5, 0); bicubic without the max.
/// Neighbours beyond the border repeat the border's pixel.
GRADUS_HOST_DEVICE inline ResizeTaps resize_taps(Interpolation interpolation, int target,
                                                 int source_size, int target_size) {
  const float scale = static_cast<float>(source_size) / static_cast<float>(target_size);
  // One rounding, asked for: a compiler's choice would move the pixel by the position's last digit.
  float position = std::fma(static_cast<float>(target) + 0.5f, scale, -0.5f);
  if (interpolation == Interpolation::bilinear) {
    position = position > 0.0f ? position : 0.0f;
    const int first = static_cast<int>(position);
    const float t = position - static_cast<float>(first);
    return {{first, clamp_index(first + 1, source_size), first, first}, {1.0f - t, t, 0.0f, 0.0f}};
  }
  constexpr float a = -0.75f;
  const float floor = std::floor(position);
  const int first = static_cast<int>(floor);
  const float t = position - floor;
  const float u = 1.0f - t;
  ResizeTaps taps;
  for (int k = 0; k < 4; ++k) taps.index[k] = clamp_index(first - 1 + k, source_size);
  // |x| <= 1: (a+2)|x|^3 - (a+3)|x|^2 + 1;  1 < |x| < 2: a|x|^3 - 5a|x|^2 + 8a|x| - 4a.
  taps.weight[0] = ((a * (t + 1.0f) - 5.0f * a) * (t + 1.0f) + 8.0f * a) * (t + 1.0f) - 4.0f * a;
  taps.weight[1] = ((a + 2.0f) * t - (a + 3.0f)) * t * t + 1.0f;
  taps.weight[2] = ((a + 2.0f) * u - (a + 3.0f)) * u * u + 1.0f;
  taps.weight[3] = ((a * (u + 1.0f) - 5.0f * a) * (u + 1.0f) + 8.0f * a) * (u + 1.0f) - 4.0f * a;
  return taps;
}

/// The pixel that stands for `index` in [-1, size] when the border reflects without repeating the
/// edge pixel: 1 for -1, size - 2 for size.
GRADUS_HOST_DEVICE inline int reflect_index(int index, int size) {
  const int reflected = index < 0 ? -index : (index < size ? index : 2 * size - 2 - index);
  return clamp_index(reflected, size);
}

/// A blur's weights along one axis: [side, centre, side].
struct BlurWeights {
  float centre;
  float side;
};

/// [e, 1, e] / (1 + 2e), e = exp(-1 / (2 sigma^2)).
GRADUS_HOST_DEVICE inline BlurWeights blur_weights(float sigma) {
  const float e = std::exp(-0.5f / (sigma * sigma));
  const float centre = 1.0f / (1.0f + 2.0f * e);
  return {centre, e * centre};
}

/// A rectangle of the source image, in pixels.
struct CropBox {
  int top;
  int left;
  int height;
  int width;
};

/// What the images are like, and the views that are made of them.
struct ViewFormat {
  int height, width, channels;  ///< of the images
  int view_height, view_width;  ///< of the views
  const float *mean, *std;      ///< [channels], on the device of the images

  GRADUS_HOST_DEVICE constexpr int view_pixels() const { return view_height * view_width; }
  GRADUS_HOST_DEVICE constexpr int view_values() const { return view_pixels() * channels; }
  GRADUS_HOST_DEVICE constexpr int image_values() const { return height * width * channels; }
};

/// What resized_crop and blur work in; reused from image to image.
struct GeometryScratch {
  std::vector<float> source;      // [crop height, crop width, channels]
  std::vector<float> row;         // [crop width, channels]
  std::vector<int> column_index;  // [taps, view width]
  std::vector<float> column_weight;
  std::vector<float> blurred;  // [view height, view width]
};

/// Cuts `box` out of `image` (uint8 [height, width, channels]), resizes it to the view's size,
/// mirrors it left to right if `flip`, and writes planes [channels, view height, view width] in
/// [0, 1].
void resized_crop(const ViewFormat& format, const std::uint8_t* image, const CropBox& box,
                  Interpolation interpolation, bool flip, float* planes, GeometryScratch& scratch);

/// Gaussian blur with a 3x3 kernel of standard deviation `sigma` (pixels), in place on planes
/// [channels, view height, view width], with blur_weights along each axis; the border reflects
/// without repeating the edge pixel.
void gaussian_blur(const ViewFormat& format, float* planes, float sigma, GeometryScratch& scratch);

}  // namespace gradus::data
