#include <gradus/data/augment_geometry.h>

#include <cstddef>

namespace gradus::data {
namespace {

std::size_t count(int a, int b) {
  return static_cast<std::size_t>(a) * static_cast<std::size_t>(b);
}

/// Rows of `box` as floats in [0, 1]: [height, width * 3].
void load_source(const std::uint8_t* image, int image_width, const CropBox& box, float* source) {
  const int row_values = 3 * box.width;
  for (int y = 0; y < box.height; ++y) {
    const std::uint8_t* from = image + 3 * ((box.top + y) * image_width + box.left);
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

void resized_crop(const std::uint8_t* image, int image_width, const CropBox& box,
                  Interpolation interpolation, bool flip, int size, float* planes,
                  GeometryScratch& scratch) {
  const int taps = tap_count(interpolation);
  const int row_values = 3 * box.width;
  scratch.source.resize(count(box.height, row_values));
  scratch.row.resize(count(row_values, 1));
  scratch.column_index.resize(count(taps, size));
  scratch.column_weight.resize(count(taps, size));

  load_source(image, image_width, box, scratch.source.data());
  for (int x = 0; x < size; ++x) {
    const ResizeTaps column = resize_taps(interpolation, flip ? size - 1 - x : x, box.width, size);
    for (int k = 0; k < taps; ++k) {
      scratch.column_index[count(k, size) + static_cast<std::size_t>(x)] = 3 * column.index[k];
      scratch.column_weight[count(k, size) + static_cast<std::size_t>(x)] = column.weight[k];
    }
  }
  for (int y = 0; y < size; ++y) {
    const ResizeTaps rows = resize_taps(interpolation, y, box.height, size);
    blend_rows(scratch.source.data(), row_values, rows, taps, scratch.row.data());
    for (int c = 0; c < 3; ++c) {
      blend_columns(scratch.row.data() + c, scratch.column_index.data(),
                    scratch.column_weight.data(), taps, size, planes + (c * size + y) * size);
    }
  }
}

void gaussian_blur(float* planes, int size, float sigma, GeometryScratch& scratch) {
  const auto [centre, side] = blur_weights(sigma);
  scratch.blurred.resize(count(size, size));
  float* temporary = scratch.blurred.data();
  const int second = reflect_index(-1, size);  // what lies beyond the first pixel
  const int last_but_one = reflect_index(size, size);
  for (int c = 0; c < 3; ++c) {
    float* plane = planes + c * size * size;
    for (int y = 0; y < size; ++y) {
      const float* in = plane + y * size;
      float* out = temporary + y * size;
#pragma omp simd
      for (int x = 1; x < size - 1; ++x) out[x] = centre * in[x] + side * (in[x - 1] + in[x + 1]);
      out[0] = centre * in[0] + side * (in[second] + in[second]);
      out[size - 1] = centre * in[size - 1] + side * (in[last_but_one] + in[last_but_one]);
    }
    for (int y = 0; y < size; ++y) {
      const float* above = temporary + (y > 0 ? y - 1 : second) * size;
      const float* here = temporary + y * size;
      const float* below = temporary + (y < size - 1 ? y + 1 : last_but_one) * size;
      float* out = plane + y * size;
#pragma omp simd
      for (int x = 0; x < size; ++x) out[x] = centre * here[x] + side * (above[x] + below[x]);
    }
  }
}

}  // namespace gradus::data
