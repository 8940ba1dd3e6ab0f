// Image files in memory, decoded.
#pragma once

#include <cstdint>
#include <span>

#include <gradus/tensor/check.h>
#include <gradus/tensor/tensor.h>

namespace gradus::data {

/// Thrown where a file is at fault, and not, say, the memory; its message is the reason alone, for
/// the caller to name the file.
class ImageError : public Error {
 public:
  using Error::Error;
};

/// Decodes a PNG or JPEG file, told apart by its first bytes: uint8 [H, W, 3], sRGB.
///
/// Channels of 16 bits are rounded to 8, greys and palettes become RGB, what is transparent is laid
/// over white, CMYK (inverted, as Adobe writes it) becomes R = C K / 255 and so on, and a JPEG is
/// turned upright as its EXIF orientation says.
///
/// Throws ImageError if the file is empty, of another kind, damaged, truncated, or has more than
/// `most_pixels` (which take three bytes each).
Tensor decode_image(std::span<const std::uint8_t> file, std::int64_t most_pixels = 100'000'000);

/// Of the two kinds; as decode_image.
Tensor decode_png(std::span<const std::uint8_t> file, std::int64_t most_pixels);
Tensor decode_jpeg(std::span<const std::uint8_t> file, std::int64_t most_pixels);

/// Room for an image, [height, width, 3]; throws ImageError if it has more than `most_pixels`.
Tensor empty_image(std::int64_t height, std::int64_t width, std::int64_t most_pixels);

}  // namespace gradus::data
