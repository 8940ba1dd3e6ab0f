// Image files of every form, whole and damaged.
#include "data/internal/decode_image.h"

#include <doctest/doctest.h>

#include <array>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/support/command.h"
#include "tests/support/errors.h"
#include "tests/support/image_files.h"

namespace {

using namespace gradus;
using namespace gradus::test;

Tensor decode(const std::string& file) {
  return data::decode_image({reinterpret_cast<const std::uint8_t*>(file.data()), file.size()});
}

std::string problem(const std::string& file) {
  return error_of([&] { decode(file); });
}

Bytes pixels_of(const Tensor& image) { return image.to_vector<std::uint8_t>(); }

/// The image has these pixels, each within `tolerance`.
void check_pixels(const Tensor& image, const Bytes& expected, int tolerance = 0) {
  const Bytes pixels = pixels_of(image);
  REQUIRE(pixels.size() == expected.size());
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    CAPTURE(i);
    CHECK(std::abs(int{pixels[i]} - int{expected[i]}) <= tolerance);
  }
}

/// Pixels that are all different from their neighbours.
Bytes varied_pixels(std::uint32_t width, std::uint32_t height) {
  Bytes pixels;
  for (std::uint32_t i = 0; i < width * height * 3; ++i)
    pixels.push_back(static_cast<std::uint8_t>(i * 2654435761u >> 13));
  return pixels;
}

constexpr std::uint32_t block = 16;  // pixels a side of a grey field, which JPEG keeps

/// Three by two fields of grey 40, 80, .. 240, by rows.
Bytes grey_fields() {
  Bytes pixels;
  for (std::uint32_t y = 0; y < 2 * block; ++y)
    for (std::uint32_t x = 0; x < 3 * block; ++x)
      pixels.insert(pixels.end(), 3,
                    static_cast<std::uint8_t>(40 * (1 + y / block * 3 + x / block)));
  return pixels;
}

/// The fields' numbers (1 to 6), by rows.
std::vector<int> fields_of(const Tensor& image) {
  std::vector<int> fields;
  for (std::int64_t y = block / 2; y < image.size(0); y += block)
    for (std::int64_t x = block / 2; x < image.size(1); x += block)
      fields.push_back((image.data<std::uint8_t>()[(y * image.size(1) + x) * 3] + 20) / 40);
  return fields;
}

}  // namespace

TEST_CASE("PNG: RGB, also interlaced and with 16 bits") {
  const Bytes pixels = varied_pixels(7, 5);
  for (const bool interlaced : {false, true}) {
    const Tensor image = decode(png_file(7, 5, pixels, {.interlaced = interlaced}));
    CHECK(image.shape() == Shape{5, 7, 3});
    CHECK(image.dtype() == DType::uint8);
    check_pixels(image, pixels);
  }
  Bytes wide;  // v 257 is v in 16 bits; a little more or less is rounded to v
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    const int value =
        pixels[i] * 257 + (pixels[i] == 0 || pixels[i] == 255 ? 0 : int(i % 3) * 100 - 100);
    wide.push_back(static_cast<std::uint8_t>(value >> 8));
    wide.push_back(static_cast<std::uint8_t>(value));
  }
  check_pixels(decode(png_file(7, 5, wide, {.bits = 16})), pixels);
}

TEST_CASE("PNG: grey of 1, 2, 4, 8 and 16 bits") {
  const auto decoded = [](const Bytes& rows, int bits, std::uint32_t width) {
    return decode(png_file(width, 1, rows, {.color_type = 0, .bits = bits}));
  };
  check_pixels(decoded({0b10100000}, 1, 3), {255, 255, 255, 0, 0, 0, 255, 255, 255});
  check_pixels(decoded({0b00011011}, 2, 4), {0, 0, 0, 85, 85, 85, 170, 170, 170, 255, 255, 255});
  check_pixels(decoded({0x1e}, 4, 2), {17, 17, 17, 238, 238, 238});
  check_pixels(decoded({9, 200}, 8, 2), {9, 9, 9, 200, 200, 200});
  check_pixels(decoded({9, 9, 200, 200}, 16, 2), {9, 9, 9, 200, 200, 200});
}

TEST_CASE("PNG: palettes, and transparency over white") {
  const PngForm palette{.color_type = 3, .palette = {1, 2, 3, 40, 50, 60, 7, 8, 9}};
  check_pixels(decode(png_file(3, 1, {2, 0, 1}, palette)), {7, 8, 9, 1, 2, 3, 40, 50, 60});
  PngForm transparent = palette;
  transparent.palette_alpha = {255, 0};
  check_pixels(decode(png_file(3, 1, {2, 0, 1}, transparent)), {7, 8, 9, 1, 2, 3, 255, 255, 255});
  check_pixels(decode(png_file(2, 1, {1, 2, 3, 255, 4, 5, 6, 0}, {.color_type = 6})),
               {1, 2, 3, 255, 255, 255});
  check_pixels(decode(png_file(2, 1, {30, 255, 30, 0}, {.color_type = 4})),
               {30, 30, 30, 255, 255, 255});
  const Bytes half = pixels_of(decode(png_file(1, 1, {0, 0, 0, 128}, {.color_type = 6})));
  CHECK(half[0] > 100);  // between black and white
  CHECK(half[0] < 220);
}

TEST_CASE("JPEG: RGB, grey and CMYK; baseline and progressive") {
  for (const bool progressive : {false, true}) {
    const Tensor colour =
        decode(jpeg_file(20, 9, flat_pixels(20, 9, 200, 100, 50), {.progressive = progressive}));
    CHECK(colour.shape() == Shape{9, 20, 3});
    check_pixels(colour, flat_pixels(20, 9, 200, 100, 50), 2);
    check_pixels(decode(jpeg_file(2, 1, {77, 77}, {.channels = 1, .progressive = progressive})),
                 {77, 77, 77, 77, 77, 77}, 1);
  }
  // Inverted ink: 255 is none. Cyan and black leave R = 100 * 128 / 255.
  check_pixels(decode(jpeg_file(1, 1, {100, 255, 200, 128}, {.channels = 4})), {50, 128, 100}, 2);
}

TEST_CASE("JPEG: EXIF's orientation is undone") {
  const std::array<std::vector<int>, 8> expected{{{1, 2, 3, 4, 5, 6},
                                                  {3, 2, 1, 6, 5, 4},
                                                  {6, 5, 4, 3, 2, 1},
                                                  {4, 5, 6, 1, 2, 3},
                                                  {1, 4, 2, 5, 3, 6},
                                                  {4, 1, 5, 2, 6, 3},
                                                  {6, 3, 5, 2, 4, 1},
                                                  {3, 6, 2, 5, 1, 4}}};
  const auto with = [](const std::vector<std::string>& app1) {
    return decode(jpeg_file(3 * block, 2 * block, grey_fields(), {.app1 = app1}));
  };
  for (std::uint8_t orientation = 1; orientation <= 8; ++orientation) {
    CAPTURE(orientation);
    for (const bool big_endian : {false, true}) {
      const Tensor image = with({exif_orientation(orientation, big_endian)});
      CHECK(image.size(0) == (orientation < 5 ? 2 : 3) * std::int64_t{block});
      CHECK(fields_of(image) == expected[orientation - 1]);
    }
  }
  const std::vector<int> as_stored = expected[0];
  CHECK(fields_of(with({})) == as_stored);
  for (const std::uint8_t none : {0, 9, 255})
    CHECK(fields_of(with({exif_orientation(none, true)})) == as_stored);
  const std::string exif = exif_orientation(3, false);
  CHECK(fields_of(with({"http://ns.adobe.com/xap/1.0/", exif})) == expected[2]);
  for (std::size_t size = 0; size < 36; ++size)  // cut off before the value
    CHECK(fields_of(with({exif.substr(0, size)})) == as_stored);
  std::string beyond = exif;
  beyond[6 + 4 + 3] = '\x7f';  // where the directory lies
  CHECK(fields_of(with({beyond})) == as_stored);
}

TEST_CASE("what is no image is refused with a reason") {
  CHECK(contains(problem(""), "empty"));
  for (const std::string text : {"words", "GIF89a", "\x89PNG", "\xff\xd8", "\x89PNX\r\n\x1a\n...."})
    CHECK(contains(problem(text), "neither PNG nor JPEG"));
  CHECK(contains(problem("\x89PNG\r\n\x1a\n"), "damaged PNG"));
  CHECK(contains(problem("\xff\xd8\xff"), "damaged JPEG"));
}

TEST_CASE("a JPEG that is whole, but of a rare kind, is not called damaged") {
  const std::string usual = jpeg_file(24, 24, varied_pixels(24, 24));
  const std::size_t frame = usual.find("\xff\xc0");
  REQUIRE(frame != usual.npos);
  std::string precise = usual, lossless = usual;
  precise[frame + 4] = 12;  // bits
  lossless[frame + 1] = '\xc3';
  for (const std::string& file : {precise, lossless}) {
    CHECK(contains(problem(file), "of a kind that is not read"));
    CHECK(contains(problem(file), "convert it"));
  }
}

TEST_CASE("a file that was cut off is refused, wherever") {
  const Bytes pixels = varied_pixels(24, 24);
  const std::string png = png_file(24, 24, pixels), jpeg = jpeg_file(24, 24, pixels),
                    progressive = jpeg_file(24, 24, pixels, {.progressive = true});
  constexpr std::size_t end_chunk = 12;  // IEND, after all pixels
  for (std::size_t size = 0; size < png.size() - end_chunk; ++size) {
    CAPTURE(size);
    CHECK_FALSE(problem(png.substr(0, size)).empty());
  }
  for (const std::string& file : {jpeg, progressive}) {
    for (std::size_t size = 0; size + 2 < file.size(); ++size) {  // 2: the marker of the end
      CAPTURE(size);
      CHECK_FALSE(problem(file.substr(0, size)).empty());
    }
  }
}

TEST_CASE("a JPEG is refused where the library would make up pixels") {
  const std::string scan = "\xff\xda", end = "\xff\xd9";
  SUBCASE("cut off and closed again") {
    const std::string jpeg = jpeg_file(24, 24, varied_pixels(24, 24));
    CHECK(contains(problem(jpeg.substr(0, jpeg.size() * 3 / 4) + end), "damaged JPEG"));
  }
  constexpr std::size_t scan_header = 10;  // of grey
  const auto header = [&](std::uint32_t width) {
    const std::string file = jpeg_file(width, 8, Bytes(width * 8), {.channels = 1});
    return file.substr(0, file.find(scan) + scan_header);
  };
  SUBCASE("a code that does not exist") {
    std::string file = header(8);
    for (int i = 0; i < 40; ++i) file += std::string("\xff\0", 2);  // ones alone
    file += end;
    CHECK(contains(problem(file), "damaged JPEG"));
    file[file.find("\xff\xc0") + 1] = '\xc9';  // the same bits in arithmetic coding
    const std::string reason = problem(file);  // some libraries do not read that at all
    CHECK((contains(reason, "damaged JPEG") || contains(reason, "of a kind that is not read")));
  }
  SUBCASE("a restart out of turn") {
    const auto block_of = [&](std::uint8_t grey) {
      const std::string file = jpeg_file(8, 8, Bytes(64, grey), {.channels = 1});
      const std::size_t start = file.find(scan) + scan_header;
      return file.substr(start, file.size() - end.size() - start);
    };
    const auto with_restart = [&](const std::string& marker) {
      std::string file = header(16);
      file.insert(file.find(scan), std::string("\xff\xdd\0\4\0\1", 6));  // after each block
      return file + block_of(100) + marker + block_of(200) + end;
    };
    const Bytes pixels = pixels_of(decode(with_restart("\xff\xd0")));
    CHECK(std::abs(pixels.front() - 100) <= 1);
    CHECK(std::abs(pixels.back() - 200) <= 1);
    CHECK(contains(problem(with_restart("\xff\xd3")), "damaged JPEG"));
  }
}

TEST_CASE("a changed byte in a PNG's pixels is found, and none in any file does harm") {
  const Bytes pixels = varied_pixels(16, 16);
  const std::string png = png_file(16, 16, pixels), jpeg = jpeg_file(16, 16, pixels);
  const std::size_t data = png.find("IDAT") + 4;
  for (std::size_t i = data; i < png.size() - 16; ++i) {
    std::string changed = png;
    changed[i] = static_cast<char>(changed[i] ^ 0x10);
    CAPTURE(i);
    CHECK_FALSE(problem(changed).empty());
  }
  for (const std::string& file : {png, jpeg}) {
    for (std::size_t i = 0; i < file.size(); ++i) {
      std::string changed = file;
      changed[i] = static_cast<char>(changed[i] ^ 0x55);
      problem(changed);  // an image or an error, nothing else
    }
  }
}

TEST_CASE("an image of too many pixels is refused before there is room for them") {
  const std::string png = png_file(50, 4, varied_pixels(50, 4));
  const std::string jpeg = jpeg_file(50, 4, varied_pixels(50, 4));
  for (const std::string& file : {png, jpeg}) {
    const std::span bytes(reinterpret_cast<const std::uint8_t*>(file.data()), file.size());
    CHECK(data::decode_image(bytes, 200).shape() == Shape{4, 50, 3});
    CHECK_ERROR(data::decode_image(bytes, 199), "50x4 pixels, and at most 199");
  }
}
