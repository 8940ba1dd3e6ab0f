#include "vicreg/pictures.h"

#include <png.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include <gradus/tensor/check.h>

namespace gradus::vicreg {
namespace {

/// The pixels [first, last) of `size` that pixel i of `side` stands for.
struct Span {
  Span(std::int64_t i, std::int64_t size, std::int64_t side)
      : first(i * size / side), last(std::max(first + 1, (i + 1) * size / side)) {}
  std::int64_t first, last;
};

}  // namespace

std::int64_t PictureSheet::add(const Tensor& images) {
  check(images.rank() == 4 && images.numel() > 0 && (images.size(3) == 1 || images.size(3) == 3),
        "pictures", "images must be [K, H, W, 1 or 3]; got {}", images.shape());
  const std::int64_t height = images.size(1), width = images.size(2), channels = images.size(3);
  const std::vector<std::uint8_t> values = images.to_vector<std::uint8_t>();
  const std::int64_t first = count_;
  count_ += images.size(0);
  pixels_.resize(
      static_cast<std::size_t>((count_ + columns_ - 1) / columns_ * columns_ * side_ * side_ * 3));
  for (std::int64_t k = 0; k < images.size(0); ++k) {
    const std::int64_t top = (first + k) / columns_ * side_, left = (first + k) % columns_ * side_;
    for (std::int64_t y = 0; y < side_; ++y) {
      for (std::int64_t x = 0; x < side_; ++x) {
        const Span rows(y, height, side_), cells(x, width, side_);
        for (std::int64_t c = 0; c < 3; ++c) {
          std::int64_t sum = 0;
          for (std::int64_t row = rows.first; row < rows.last; ++row)
            for (std::int64_t cell = cells.first; cell < cells.last; ++cell)
              sum += values[static_cast<std::size_t>(
                  ((k * height + row) * width + cell) * channels + c % channels)];
          const std::int64_t area = (rows.last - rows.first) * (cells.last - cells.first);
          const std::int64_t level = std::min<std::int64_t>(252, (sum / area + 2) / 4 * 4);
          pixels_[static_cast<std::size_t>(((top + y) * columns_ * side_ + left + x) * 3 + c)] =
              static_cast<std::uint8_t>(level);
        }
      }
    }
  }
  return first;
}

std::string PictureSheet::png() const {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(columns_ * side_);
  image.height = static_cast<png_uint_32>((count_ + columns_ - 1) / columns_ * side_);
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string file(size, '\0');
  const int written =
      png_image_write_to_memory(&image, file.data(), &size, 0, pixels_.data(), 0, nullptr);
  check(written != 0, "pictures", "cannot make a PNG: {}", image.message);
  file.resize(size);
  return file;
}

nlohmann::json PictureSheet::to_json() const {
  return {
      {"png", "data:image/png;base64," + base64(png())}, {"side", side_}, {"columns", columns_}};
}

Tensor denormalize(const Tensor& views, const data::Normalization& normalization) {
  std::vector<float> values = views.to_vector<float>();
  std::vector<std::uint8_t> pixels(values.size());
  const std::size_t channels = static_cast<std::size_t>(views.size(-1));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t c = i % channels;
    const float x = normalization.mean.empty()
                        ? values[i]
                        : values[i] * normalization.std[c] + normalization.mean[c];
    pixels[i] = static_cast<std::uint8_t>(std::lround(255 * (x > 0 ? std::min(x, 1.0f) : 0.0f)));
  }
  return from_vector(pixels, views.shape());
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j)
      group = group << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    for (std::size_t j = 0; j < 4; ++j)
      text += i + j > bytes.size() ? '=' : digits[group >> (18 - 6 * j) & 63];
  }
  return text;
}

}  // namespace gradus::vicreg
