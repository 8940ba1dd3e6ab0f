// augmentations.png; curves.svg is in curves.cpp.
#include "vicreg/pictures.h"

#include <png.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <gradus/tensor/check.h>
#include <gradus/tensor/io/file.h>

namespace gradus::vicreg {
namespace {

constexpr std::int64_t scale = 3;
constexpr std::int64_t gap = 6;          // between an image and its views, and between rows
constexpr std::int64_t column_gap = 30;  // between columns of images, and around all
constexpr std::int64_t rows_per_column = 8;
constexpr std::uint8_t background = 255;

/// All images, or one view of each: pixels [K, height, width, 3].
struct Pictures {
  std::vector<std::uint8_t> pixels;
  std::int64_t height, width;
};

/// An RGB picture, [height, width, 3].
struct Canvas {
  Canvas(std::int64_t width_, std::int64_t height_)
      : width(width_),
        height(height_),
        pixels(static_cast<std::size_t>(width_ * height_ * 3), background) {}

  /// Draws image [h, w, 3] enlarged, its upper left corner at (left, top).
  void draw(const std::uint8_t* image, std::int64_t h, std::int64_t w, std::int64_t left,
            std::int64_t top) {
    for (std::int64_t y = 0; y < h * scale; ++y) {
      for (std::int64_t x = 0; x < w * scale; ++x) {
        const std::uint8_t* from = image + (y / scale * w + x / scale) * 3;
        std::copy_n(from, 3, pixels.data() + ((top + y) * width + left + x) * 3);
      }
    }
  }

  std::int64_t width, height;
  std::vector<std::uint8_t> pixels;
};

/// A normalised view as 8-bit pixels.
std::vector<std::uint8_t> denormalize(const Tensor& view,
                                      const data::Normalization& normalization) {
  const std::vector<float> values = view.to_vector<float>();
  std::vector<std::uint8_t> pixels(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float value = values[i] * normalization.std[i % 3] + normalization.mean[i % 3];
    const float level = std::isfinite(value) ? std::clamp(value, 0.0f, 1.0f) * 255.0f : 0.0f;
    pixels[i] = static_cast<std::uint8_t>(std::lround(level));
  }
  return pixels;
}

void write_png(const std::filesystem::path& path, const Canvas& canvas) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(canvas.width);
  image.height = static_cast<png_uint_32>(canvas.height);
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string file(size, '\0');
  const int written =
      png_image_write_to_memory(&image, file.data(), &size, 0, canvas.pixels.data(), 0, nullptr);
  check(written != 0, "pictures", "cannot make {}: {}", path.string(), image.message);
  file.resize(size);
  write_file_atomically(path, file);
}

}  // namespace

void write_augmentation_grid(const std::filesystem::path& path, const Tensor& images,
                             const std::vector<Tensor>& views,
                             const data::Normalization& normalization) {
  check(images.rank() == 4 && images.size(3) == 3 && images.numel() > 0, "pictures",
        "images must be [K, H, W, 3]; got {}", images.shape());
  std::vector<Pictures> pictures{
      {images.to_vector<std::uint8_t>(), images.size(1), images.size(2)}};
  for (const Tensor& view : views) {
    check(view.rank() == 4 && view.size(0) == images.size(0) && view.size(3) == 3, "pictures",
          "the views must be [{}, h, w, 3]: one of each image; got {}", images.size(0),
          view.shape());
    pictures.push_back({denormalize(view, normalization), view.size(1), view.size(2)});
  }
  const std::int64_t count = images.size(0);
  const std::int64_t rows = std::min(count, rows_per_column);
  const std::int64_t columns = (count + rows - 1) / rows;
  std::int64_t row_height = 0, column_width = -gap;
  for (const Pictures& p : pictures) {
    row_height = std::max(row_height, p.height * scale);
    column_width += p.width * scale + gap;
  }
  Canvas canvas(columns * (column_width + column_gap) + column_gap,
                rows * (row_height + gap) - gap + 2 * column_gap);

  for (std::int64_t k = 0; k < count; ++k) {
    std::int64_t left = column_gap + k / rows * (column_width + column_gap);
    const std::int64_t top = column_gap + k % rows * (row_height + gap);
    for (const Pictures& p : pictures) {
      canvas.draw(p.pixels.data() + k * p.height * p.width * 3, p.height, p.width, left, top);
      left += p.width * scale + gap;
    }
  }
  write_png(path, canvas);
}

}  // namespace gradus::vicreg
