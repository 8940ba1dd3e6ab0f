// PNG, by libpng's simplified interface.
#include <png.h>

#include <gradus/tensor/check.h>
#include "data/internal/decode_image.h"

namespace gradus::data {
namespace {

/// What libpng knows of the file, freed at the end.
struct PngImage : png_image {
  PngImage() : png_image{} { version = PNG_IMAGE_VERSION; }
  ~PngImage() { png_image_free(this); }
  PngImage(const PngImage&) = delete;
  PngImage& operator=(const PngImage&) = delete;

  [[noreturn]] void fail() const {
    throw ImageError(fmt::format("it is a damaged PNG ({})", message));
  }
};

}  // namespace

Tensor decode_png(std::span<const std::uint8_t> file, std::int64_t most_pixels) {
  PngImage png;
  if (png_image_begin_read_from_memory(&png, file.data(), file.size()) == 0) png.fail();
  Tensor image = empty_image(png.height, png.width, most_pixels);
  png.format = PNG_FORMAT_RGB;
  png.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;  // and not linear, where the file does not say
  const png_color white{255, 255, 255};
  if (png_image_finish_read(&png, &white, image.data<std::uint8_t>(), 0, nullptr) == 0) png.fail();
  return image;
}

}  // namespace gradus::data
