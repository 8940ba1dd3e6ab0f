#include "data/internal/decode_image.h"

#include <algorithm>
#include <array>

#include <gradus/tensor/check.h>

namespace gradus::data {
namespace {

template <std::size_t n>
bool starts_with(std::span<const std::uint8_t> file, const std::array<std::uint8_t, n>& start) {
  return file.size() >= n && std::equal(start.begin(), start.end(), file.begin());
}

constexpr std::array<std::uint8_t, 8> png_start{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
constexpr std::array<std::uint8_t, 3> jpeg_start{0xff, 0xd8, 0xff};

}  // namespace

Tensor empty_image(std::int64_t height, std::int64_t width, std::int64_t most_pixels) {
  if (width > most_pixels / height)
    throw ImageError(fmt::format("it has {}x{} pixels, and at most {} can be read; make it smaller",
                                 width, height, most_pixels));
  return empty({height, width, 3}, {DType::uint8});
}

Tensor decode_image(std::span<const std::uint8_t> file, std::int64_t most_pixels) {
  if (file.empty()) throw ImageError("it is empty");
  if (starts_with(file, png_start)) return decode_png(file, most_pixels);
  if (starts_with(file, jpeg_start)) return decode_jpeg(file, most_pixels);
  throw ImageError("it is neither PNG nor JPEG, whatever its name says; convert it");
}

}  // namespace gradus::data
