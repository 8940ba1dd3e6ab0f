#include "data/internal/augment_color.h"

#include <algorithm>
#include <cstddef>

namespace gradus::data {
namespace {

/// Sum of the greys of pixels, in 16 lanes so that it vectorises and yet has a fixed order.
float sum_of_greys(const float* r, const float* g, const float* b, int pixels) {
  constexpr int lanes = 16;
  float sums[lanes] = {};
  int i = 0;
  for (; i + lanes <= pixels; i += lanes) {
#pragma omp simd
    for (int lane = 0; lane < lanes; ++lane) {
      sums[lane] += grey(r[i + lane], g[i + lane], b[i + lane]);
    }
  }
  for (int lane = 0; i < pixels; ++i, ++lane) sums[lane] += grey(r[i], g[i], b[i]);
  float total = 0.0f;
  for (float sum : sums) total += sum;
  return total;
}

/// Mean grey of an image, by parts whose sums a float holds well.
float mean_grey(const float* planes, int pixels) {
  constexpr int most = 1 << 16;
  double total = 0;
  for (int first = 0; first < pixels; first += most) {
    const float* const r = planes + first;
    total += static_cast<double>(
        sum_of_greys(r, r + pixels, r + 2 * pixels, std::min(most, pixels - first)));
  }
  return static_cast<float>(total / pixels);
}

}  // namespace

void adjust_brightness(float* planes, int pixels, float factor) {
#pragma omp simd
  for (int i = 0; i < 3 * pixels; ++i) planes[i] = brighten(planes[i], factor);
}

void adjust_contrast(float* planes, int pixels, float factor) {
  const float mean = mean_grey(planes, pixels);
#pragma omp simd
  for (int i = 0; i < 3 * pixels; ++i) planes[i] = blend(planes[i], mean, factor);
}

void adjust_saturation(float* planes, int pixels, float factor) {
  float* r = planes;
  float* g = planes + pixels;
  float* b = planes + 2 * pixels;
#pragma omp simd
  for (int i = 0; i < pixels; ++i) {
    const float l = grey(r[i], g[i], b[i]);
    r[i] = blend(r[i], l, factor);
    g[i] = blend(g[i], l, factor);
    b[i] = blend(b[i], l, factor);
  }
}

void adjust_hue(float* planes, int pixels, float shift) {
  float* r = planes;
  float* g = planes + pixels;
  float* b = planes + 2 * pixels;
#pragma omp simd
  for (int i = 0; i < pixels; ++i) {
    float red = r[i], green = g[i], blue = b[i];
    shift_hue(red, green, blue, shift);
    r[i] = red;
    g[i] = green;
    b[i] = blue;
  }
}

void grayscale(float* planes, int pixels) {
  float* r = planes;
  float* g = planes + pixels;
  float* b = planes + 2 * pixels;
#pragma omp simd
  for (int i = 0; i < pixels; ++i) r[i] = g[i] = b[i] = grey(r[i], g[i], b[i]);
}

void solarize(float* values, int count, float threshold) {
#pragma omp simd
  for (int i = 0; i < count; ++i) values[i] = solarize(values[i], threshold);
}

void normalize(const ViewFormat& format, const float* planes, float* output) {
  const int pixels = format.view_pixels(), channels = format.channels;
  for (int c = 0; c < channels; ++c) {
    const float* plane = planes + c * pixels;
    const float mean = format.mean[c], std = format.std[c];
#pragma omp simd
    for (int i = 0; i < pixels; ++i) output[i * channels + c] = normalize(plane[i], mean, std);
  }
}

}  // namespace gradus::data
