// Colour operations on one image: per-pixel functions that both back ends can use, and loops over
// planes [3, pixels] with values in [0, 1]. The formulas are torchvision's for float tensors.
#pragma once

#include <cstdint>

#include <gradus/data/augment_geometry.h>
#include <gradus/tensor/host_device.h>

namespace gradus::data {

GRADUS_HOST_DEVICE inline float clamp_unit(float x) {
  const float low = x > 0.0f ? x : 0.0f;
  return low < 1.0f ? low : 1.0f;
}

/// clamp(factor x, 0, 1).
GRADUS_HOST_DEVICE inline float brighten(float x, float factor) { return clamp_unit(factor * x); }

/// Luma with the weights of ITU-R BT.601.
GRADUS_HOST_DEVICE inline float grey(float r, float g, float b) {
  return 0.2989f * r + 0.587f * g + 0.114f * b;
}

/// clamp(factor a + (1 - factor) b, 0, 1).
GRADUS_HOST_DEVICE inline float blend(float a, float b, float factor) {
  return clamp_unit(factor * a + (1.0f - factor) * b);
}

/// 1 - x where x >= threshold.
GRADUS_HOST_DEVICE inline float solarize(float x, float threshold) {
  return x >= threshold ? 1.0f - x : x;
}

/// (x - mean) / std.
GRADUS_HOST_DEVICE inline float normalize(float x, float mean, float std) {
  return (x - mean) / std;
}

/// One channel of a colour with value `value` (its maximum), chroma `chroma` (maximum - minimum)
/// and hue `hue6` in [0, 6]; `offset` is 5 for red, 3 for green, 1 for blue:
/// V - C clamp(min(k, 4 - k), 0, 1), k = (offset + hue6) mod 6.
GRADUS_HOST_DEVICE inline float hue_channel(float value, float chroma, float hue6, float offset) {
  float k = offset + hue6;
  k = k >= 6.0f ? k - 6.0f : k;
  const float ramp = k < 4.0f - k ? k : 4.0f - k;
  return value - chroma * clamp_unit(ramp);
}

/// Turns a colour's hue by `shift` in [-0.5, 0.5] of a full turn (through HSV, without branches).
GRADUS_HOST_DEVICE inline void shift_hue(float& r, float& g, float& b, float shift) {
  const float rg_max = r > g ? r : g;
  const float rg_min = r > g ? g : r;
  const float value = rg_max > b ? rg_max : b;
  const float chroma = value - (rg_min < b ? rg_min : b);
  const float scale = 1.0f / (chroma > 0.0f ? chroma : 1.0f);
  const float from_red = (g - b) * scale;
  const float from_green = 2.0f + (b - r) * scale;
  const float from_blue = 4.0f + (r - g) * scale;
  float hue6 = value == g ? from_green : from_blue;
  hue6 = (value == r ? from_red : hue6) + 6.0f * shift;  // in [-4, 8]
  hue6 = hue6 < 0.0f ? hue6 + 6.0f : hue6;
  hue6 = hue6 >= 6.0f ? hue6 - 6.0f : hue6;
  r = hue_channel(value, chroma, hue6, 5.0f);
  g = hue_channel(value, chroma, hue6, 3.0f);
  b = hue_channel(value, chroma, hue6, 1.0f);
}

/// x -> clamp(factor x).
void adjust_brightness(float* planes, int pixels, float factor);
/// Blends with the image's mean grey.
void adjust_contrast(float* planes, int pixels, float factor);
/// Blends with the pixel's own grey.
void adjust_saturation(float* planes, int pixels, float factor);
/// Shifts the hue by `shift` in [-0.5, 0.5] of a full turn.
void adjust_hue(float* planes, int pixels, float shift);
/// Copies the grey to all three channels.
void grayscale(float* planes, int pixels);
/// Inverts those of `count` values that reach `threshold`.
void solarize(float* values, int count, float threshold);
/// Normalises, from planes [channels, view pixels] to interleaved [view pixels, channels].
void normalize(const ViewFormat& format, const float* planes, float* output);

}  // namespace gradus::data
