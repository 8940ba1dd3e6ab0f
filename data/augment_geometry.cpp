#include <gradus/data/augment_geometry.h>

#include <cstddef>

namespace gradus::data {
namespace {

std::size_t count(int a, int b) {
  return static_cast<std::size_t>(a) * static_cast<std::size_t>(b);
}

/// Rows of `box` as floats in [0, 1]: [box height, box width, channels].
void load_source(const ViewFormat& format, const std::uint8_t* image, const CropBox& box,
                 float* source) {
  const int row_values = format.channels * box.width;
  for (int y = 0; y < box.height; ++y) {
    const std::uint8_t* from = image + format.channels * ((box.top + y) * format.width + box.left);
    float* to = source + y * row_values;
#pragma omp simd
    for (int i = 0; i < row_values; ++i) to[i] = static_cast<float>(from[i]) / 255.0f;
  }
}

/// Weighted sum of `taps` source rows, for one output row.
void blend_rows(const float* source, int row_values, const ResizeTaps& taps, int tap_total,
                float* row) {
  const float* a = source + taps.index[0] * row_values;
  const float* b = source + taps.index[1] * row_values;
  const float wa = taps.weight[0], wb = taps.weight[1];
  if (tap_total == 2) {
#pragma omp simd
    for (int i = 0; i < row_values; ++i) row[i] = wa * a[i] + wb * b[i];
    return;
  }
  const float* c = source + taps.index[2] * row_values;
  const float* d = source + taps.index[3] * row_values;
  const float wc = taps.weight[2], wd = taps.weight[3];
#pragma omp simd
  for (int i = 0; i < row_values; ++i) row[i] = wa * a[i] + wb * b[i] + wc * c[i] + wd * d[i];
}

/// One output row of one channel; `row` points at that channel of the first pixel, and the indices
/// count floats.
void blend_columns(const float* row, const int* index, const float* weight, int tap_total, int size,
                   float* out) {
  if (tap_total == 2) {
#pragma omp simd
    for (int x = 0; x < size; ++x) {
      out[x] = weight[x] * row[index[x]] + weight[size + x] * row[index[size + x]];
    }
    return;
  }
#pragma omp simd
  for (int x = 0; x < size; ++x) {
    const float sum = weight[x] * row[index[x]] + weight[size + x] * row[index[size + x]] +
                      weight[2 * size + x] * row[index[2 * size + x]] +
                      weight[3 * size + x] * row[index[3 * size + x]];
    out[x] = sum < 0.0f ? 0.0f : (sum > 1.0f ? 1.0f : sum);  // the cubic kernel overshoots
  }
}

}  // namespace

void resized_crop(const ViewFormat& format, const std::uint8_t* image, const CropBox& box,
                  Interpolation interpolation, bool flip, float* planes, GeometryScratch& scratch) {
  const int taps = tap_count(interpolation);
  const int channels = format.channels, height = format.view_height, width = format.view_width;
  const int row_values = channels * box.width;
  scratch.source.resize(count(box.height, row_values));
  scratch.row.resize(count(row_values, 1));
  scratch.column_index.resize(count(taps, width));
  scratch.column_weight.resize(count(taps, width));

  load_source(format, image, box, scratch.source.data());
  for (int x = 0; x < width; ++x) {
    const ResizeTaps column =
        resize_taps(interpolation, flip ? width - 1 - x : x, box.width, width);
    for (int k = 0; k < taps; ++k) {
      const std::size_t i = count(k, width) + static_cast<std::size_t>(x);
      scratch.column_index[i] = channels * column.index[k];
      scratch.column_weight[i] = column.weight[k];
    }
  }
  for (int y = 0; y < height; ++y) {
    const ResizeTaps rows = resize_taps(interpolation, y, box.height, height);
    blend_rows(scratch.source.data(), row_values, rows, taps, scratch.row.data());
    for (int c = 0; c < channels; ++c) {
      blend_columns(scratch.row.data() + c, scratch.column_index.data(),
                    scratch.column_weight.data(), taps, width, planes + (c * height + y) * width);
    }
  }
}

void gaussian_blur(const ViewFormat& format, float* planes, float sigma, GeometryScratch& scratch) {
  const BlurWeights weights = blur_weights(sigma);
  const float centre = weights.centre, side = weights.side;
  const int height = format.view_height, width = format.view_width;
  scratch.blurred.resize(count(height, width));
  float* temporary = scratch.blurred.data();
  // What lies beyond the first and the last pixel of a row.
  const int before = reflect_index(-1, width), behind = reflect_index(width, width);
  for (int c = 0; c < format.channels; ++c) {
    float* plane = planes + c * height * width;
    for (int y = 0; y < height; ++y) {
      const float* in = plane + y * width;
      float* out = temporary + y * width;
#pragma omp simd
      for (int x = 1; x < width - 1; ++x) out[x] = centre * in[x] + side * (in[x - 1] + in[x + 1]);
      out[0] = centre * in[0] + side * (in[before] + in[before]);
      out[width - 1] = centre * in[width - 1] + side * (in[behind] + in[behind]);
    }
    for (int y = 0; y < height; ++y) {
      const float* above = temporary + reflect_index(y - 1, height) * width;
      const float* here = temporary + y * width;
      const float* below = temporary + reflect_index(y + 1, height) * width;
      float* out = plane + y * width;
#pragma omp simd
      for (int x = 0; x < width; ++x) out[x] = centre * here[x] + side * (above[x] + below[x]);
    }
  }
}

}  // namespace gradus::data
