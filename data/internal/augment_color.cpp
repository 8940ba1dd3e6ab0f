#include "data/internal/augment_color.h"

#include <cstddef>

namespace gradus::data {
namespace {

/// Mean grey of an image, summed in 16 lanes so that it vectorises and yet has a fixed order.
float mean_grey(const float* planes, int pixels) {
  constexpr int lanes = 16;
  const float* r = planes;
  const float* g = planes + pixels;
  const float* b = planes + 2 * pixels;
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
  return total / static_cast<float>(pixels);
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

void solarize(float* planes, int pixels, float threshold) {
#pragma omp simd
  for (int i = 0; i < 3 * pixels; ++i) planes[i] = solarize(planes[i], threshold);
}

void normalize(const float* planes, int pixels, const float mean[3], const float std[3],
               float* output) {
  const float* r = planes;
  const float* g = planes + pixels;
  const float* b = planes + 2 * pixels;
  const float mean_r = mean[0], mean_g = mean[1], mean_b = mean[2];
  const float std_r = std[0], std_g = std[1], std_b = std[2];
#pragma omp simd
  for (int i = 0; i < pixels; ++i) {
    output[3 * i + 0] = normalize(r[i], mean_r, std_r);
    output[3 * i + 1] = normalize(g[i], mean_g, std_g);
    output[3 * i + 2] = normalize(b[i], mean_b, std_b);
  }
}

}  // namespace gradus::data
