// JPEG, by libjpeg. The library reports an error by a function that must not return: it jumps back
// (longjmp) to the function that called the library, in which therefore nothing is made that has a
// destructor.
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <new>
#include <string_view>
#include <vector>

#include <jpeglib.h>
// After it.
#include <jerror.h>

#include <gradus/tensor/check.h>
#include "data/internal/decode_image.h"

namespace gradus::data {
namespace {

struct ErrorHandler : jpeg_error_mgr {
  std::jmp_buf caller;
  char text[JMSG_LENGTH_MAX] = "";
};

[[noreturn]] void give_up(j_common_ptr jpeg) {
  auto* handler = static_cast<ErrorHandler*>(jpeg->err);
  handler->format_message(jpeg, handler->text);
  std::longjmp(handler->caller, 1);
}

/// Gives up at those warnings after which pixels are made up.
void on_message(j_common_ptr jpeg, int level) {
  if (level >= 0) return;  // not a warning
  switch (jpeg->err->msg_code) {
    case JWRN_ARITH_BAD_CODE:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_JPEG_EOF:
    case JWRN_MUST_RESYNC: give_up(jpeg);
    default: return;
  }
}

/// A file in the making of an image.
class Decompressor {
 public:
  Decompressor() {
    jpeg_.err = jpeg_std_error(&handler_);
    handler_.error_exit = give_up;
    handler_.emit_message = on_message;
  }
  ~Decompressor() { jpeg_destroy_decompress(&jpeg_); }
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;

  /// False if the library gave up, as is `read`.
  bool start(std::span<const std::uint8_t> file) {
    if (setjmp(handler_.caller) != 0) return false;
    jpeg_create_decompress(&jpeg_);
    jpeg_mem_src(&jpeg_, file.data(), file.size());
    jpeg_save_markers(&jpeg_, JPEG_APP0 + 1, 0xffff);  // EXIF
    jpeg_read_header(&jpeg_, TRUE);
    const bool has_black = jpeg_.jpeg_color_space == JCS_CMYK || jpeg_.jpeg_color_space == JCS_YCCK;
    jpeg_.out_color_space = has_black ? JCS_CMYK : JCS_RGB;
    jpeg_calc_output_dimensions(&jpeg_);
    return true;
  }

  std::int64_t height() const { return jpeg_.output_height; }
  std::int64_t width() const { return jpeg_.output_width; }
  bool is_cmyk() const { return jpeg_.out_color_space == JCS_CMYK; }
  /// The TIFF structure of the EXIF segment, or nothing.
  std::span<const std::uint8_t> exif() const {
    constexpr std::string_view start{"Exif\0\0", 6};
    for (const auto* segment = jpeg_.marker_list; segment != nullptr; segment = segment->next) {
      if (segment->data_length < start.size() ||
          std::memcmp(segment->data, start.data(), start.size()) != 0)
        continue;
      return std::span(segment->data, segment->data_length).subspan(start.size());
    }
    return {};
  }

  /// Reads all rows into `pixels` [height, width, 3]; `row` [width, 4] is for one of CMYK.
  bool read(std::uint8_t* pixels, std::uint8_t* row) {
    if (setjmp(handler_.caller) != 0) return false;
    jpeg_start_decompress(&jpeg_);
    while (jpeg_.output_scanline < jpeg_.output_height) {
      std::uint8_t* rgb = pixels + 3 * width() * jpeg_.output_scanline;
      std::uint8_t* target = is_cmyk() ? row : rgb;
      jpeg_read_scanlines(&jpeg_, &target, 1);
      if (is_cmyk()) to_rgb(row, rgb);
    }
    jpeg_finish_decompress(&jpeg_);
    return true;
  }

  [[noreturn]] void fail() const {
    switch (handler_.msg_code) {
      case JERR_ARITH_NOTIMPL:
      case JERR_BAD_COMPONENT_ID:
      case JERR_BAD_PRECISION:
      case JERR_CONVERSION_NOTIMPL:
      case JERR_SOF_UNSUPPORTED:
        throw ImageError(
            fmt::format("it is a JPEG of a kind that is not read ({}); convert it", handler_.text));
      case JERR_OUT_OF_MEMORY: throw std::bad_alloc();
      default: throw ImageError(fmt::format("it is a damaged JPEG ({})", handler_.text));
    }
  }

 private:
  /// A row of inverted CMYK as RGB.
  void to_rgb(const std::uint8_t* cmyk, std::uint8_t* rgb) const {
    for (JDIMENSION x = 0; x < jpeg_.output_width; ++x, cmyk += 4, rgb += 3)
      for (int c = 0; c < 3; ++c)
        rgb[c] = static_cast<std::uint8_t>((cmyk[c] * cmyk[3] + 127) / 255);
  }

  jpeg_decompress_struct jpeg_{};
  ErrorHandler handler_;
};

/// Numbers of a TIFF structure, in its byte order.
class Tiff {
 public:
  Tiff(std::span<const std::uint8_t> bytes, bool big_endian)
      : bytes_(bytes), big_endian_(big_endian) {}

  /// The number of `size` bytes at `position`; 0 beyond the end.
  std::uint32_t number(std::size_t position, std::size_t size) const {
    if (position > bytes_.size() || bytes_.size() - position < size) return 0;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < size; ++i)
      value = value << 8 | bytes_[position + (big_endian_ ? i : size - 1 - i)];
    return value;
  }

 private:
  std::span<const std::uint8_t> bytes_;
  bool big_endian_;
};

/// How the camera was held, as EXIF tells: 1 (upright) to 8; 1 if it does not.
int exif_orientation(std::span<const std::uint8_t> exif) {
  constexpr std::uint32_t orientation_tag = 0x0112;
  const Tiff tiff(exif, !exif.empty() && exif[0] == 'M');
  const std::size_t directory = tiff.number(4, 4);
  const std::size_t entries = tiff.number(directory, 2);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + 12 * i;  // tag, type, count, value
    if (tiff.number(entry, 2) != orientation_tag) continue;
    const std::uint32_t value = tiff.number(entry + 8, 2);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

/// Image [H, W, 3] turned and mirrored to orientation 1; [W, H, 3] from 5 on.
Tensor upright(const Tensor& image, int orientation) {
  if (orientation == 1) return image;
  const std::int64_t height = image.size(0), width = image.size(1);
  const bool transposed = orientation >= 5;
  const bool from_below =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool from_right =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  Tensor turned = transposed ? empty({width, height, 3}, {DType::uint8})
                             : empty({height, width, 3}, {DType::uint8});
  const auto* from = image.data<std::uint8_t>();
  auto* to = turned.data<std::uint8_t>();
  for (std::int64_t y = 0; y < turned.size(0); ++y) {
    for (std::int64_t x = 0; x < turned.size(1); ++x) {
      const std::int64_t row = transposed ? x : y, column = transposed ? y : x;
      const std::int64_t pixel = (from_below ? height - 1 - row : row) * width +
                                 (from_right ? width - 1 - column : column);
      for (std::int64_t c = 0; c < 3; ++c) *to++ = from[3 * pixel + c];
    }
  }
  return turned;
}

}  // namespace

Tensor decode_jpeg(std::span<const std::uint8_t> file, std::int64_t most_pixels) {
  Decompressor jpeg;
  if (!jpeg.start(file)) jpeg.fail();
  Tensor image = empty_image(jpeg.height(), jpeg.width(), most_pixels);
  std::vector<std::uint8_t> row(jpeg.is_cmyk() ? static_cast<std::size_t>(4 * jpeg.width()) : 0);
  const int orientation = exif_orientation(jpeg.exif());
  if (!jpeg.read(image.data<std::uint8_t>(), row.data())) jpeg.fail();
  return upright(image, orientation);
}

}  // namespace gradus::data
