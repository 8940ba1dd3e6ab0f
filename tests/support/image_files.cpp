#include "tests/support/image_files.h"

#include <cstdio>
#include <cstdlib>

#include <jpeglib.h>
#include <png.h>

namespace gradus::test {

std::string png_file(std::uint32_t width, std::uint32_t height, const Bytes& rows,
                     const PngForm& form) {
  std::string file;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  if (setjmp(png_jmpbuf(png)) != 0) std::abort();  // what is to be written makes no sense
  png_set_write_fn(
      png, &file,
      [](png_structp p, png_bytep data, png_size_t size) {
        static_cast<std::string*>(png_get_io_ptr(p))->append(reinterpret_cast<char*>(data), size);
      },
      nullptr);
  png_set_IHDR(png, info, width, height, form.bits, form.color_type,
               form.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  std::vector<png_color> palette;
  for (std::size_t i = 0; i < form.palette.size(); i += 3)
    palette.push_back({form.palette[i], form.palette[i + 1], form.palette[i + 2]});
  if (!palette.empty()) png_set_PLTE(png, info, palette.data(), static_cast<int>(palette.size()));
  if (!form.palette_alpha.empty())
    png_set_tRNS(png, info, form.palette_alpha.data(), static_cast<int>(form.palette_alpha.size()),
                 nullptr);
  png_write_info(png, info);
  const std::size_t row_bytes = png_get_rowbytes(png, info);
  std::vector<png_bytep> pointers;
  for (std::uint32_t y = 0; y < height; ++y)
    pointers.push_back(const_cast<png_bytep>(rows.data() + y * row_bytes));
  png_write_image(png, pointers.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return file;
}

std::string jpeg_file(std::uint32_t width, std::uint32_t height, const Bytes& pixels,
                      const JpegForm& form) {
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors;
  jpeg.err = jpeg_std_error(&errors);  // ends the program: what is to be written makes no sense
  jpeg_create_compress(&jpeg);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &memory, &size);
  jpeg.image_width = width;
  jpeg.image_height = height;
  jpeg.input_components = form.channels;
  jpeg.in_color_space = form.channels == 1   ? JCS_GRAYSCALE
                        : form.channels == 3 ? JCS_RGB
                                             : JCS_CMYK;
  jpeg_set_defaults(&jpeg);
  jpeg_set_quality(&jpeg, 100, TRUE);
  for (int c = 0; c < jpeg.num_components; ++c)
    jpeg.comp_info[c].h_samp_factor = jpeg.comp_info[c].v_samp_factor = 1;
  if (form.progressive) jpeg_simple_progression(&jpeg);
  jpeg_start_compress(&jpeg, TRUE);
  for (const std::string& segment : form.app1)
    jpeg_write_marker(&jpeg, JPEG_APP0 + 1, reinterpret_cast<const JOCTET*>(segment.data()),
                      static_cast<unsigned>(segment.size()));
  while (jpeg.next_scanline < height) {
    auto* row = const_cast<JSAMPROW>(pixels.data()) +
                jpeg.next_scanline * width * static_cast<std::uint32_t>(form.channels);
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  std::string file(reinterpret_cast<char*>(memory), size);
  std::free(memory);
  return file;
}

std::string exif_orientation(std::uint8_t value, bool big_endian) {
  const auto number = [&](std::uint32_t n, int size) {
    std::string bytes;
    for (int i = 0; i < size; ++i)
      bytes.push_back(static_cast<char>(n >> 8 * (big_endian ? size - 1 - i : i)));
    return bytes;
  };
  const auto entry = [&](std::uint32_t tag, std::uint32_t type, const std::string& contents) {
    return number(tag, 2) + number(type, 2) + number(1, 4) + contents;
  };
  return std::string("Exif\0\0", 6) + (big_endian ? "MM" : "II") + number(42, 2) + number(8, 4) +
         number(2, 2) + entry(0x0100, 4, number(7, 4)) +
         entry(0x0112, 3, number(value, 2) + number(0, 2)) + number(0, 4);
}

Bytes flat_pixels(std::uint32_t width, std::uint32_t height, std::uint8_t red, std::uint8_t green,
                  std::uint8_t blue) {
  Bytes pixels;
  for (std::uint32_t i = 0; i < width * height; ++i)
    pixels.insert(pixels.end(), {red, green, blue});
  return pixels;
}

}  // namespace gradus::test
