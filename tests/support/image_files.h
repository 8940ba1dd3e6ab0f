// PNG and JPEG files, in memory, of every form that they come in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace gradus::test {

using Bytes = std::vector<std::uint8_t>;

struct PngForm {
  int color_type = 2;  ///< PNG_COLOR_TYPE_...: 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGBA
  int bits = 8;        ///< a channel
  bool interlaced = false;
  Bytes palette = {};        ///< R, G, B of each entry
  Bytes palette_alpha = {};  ///< of the first entries
};

/// A PNG file of rows as they stand in it: packed, and 16 bits big-endian.
std::string png_file(std::uint32_t width, std::uint32_t height, const Bytes& rows,
                     const PngForm& form = {});

struct JpegForm {
  int channels = 3;  ///< 1 grey, 3 RGB, 4 CMYK, inverted
  bool progressive = false;
  std::vector<std::string> app1 = {};  ///< segments: exif_orientation(), say
};

/// A JPEG file of the best quality, without subsampling; pixels [height, width, channels].
std::string jpeg_file(std::uint32_t width, std::uint32_t height, const Bytes& pixels,
                      const JpegForm& form = {});

/// The APP1 segment with the tag Orientation, in either byte order.
std::string exif_orientation(std::uint8_t value, bool big_endian);

/// Pixels [height, width, 3] of one colour.
Bytes flat_pixels(std::uint32_t width, std::uint32_t height, std::uint8_t red, std::uint8_t green,
                  std::uint8_t blue);

}  // namespace gradus::test
