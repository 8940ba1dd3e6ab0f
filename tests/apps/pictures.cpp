#include "vicreg/pictures.h"

#include <doctest/doctest.h>
#include <png.h>

#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include <gradus/tensor/ops.h>
#include "tests/support/errors.h"

using namespace gradus;
using namespace gradus::vicreg;
using namespace gradus::test;

namespace {

std::string decode_base64(const std::string& text) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text.substr(0, text.find('='))) {
    bits = bits << 6 | static_cast<std::uint32_t>(digits.find(c));
    count += 6;
    if (count >= 8) bytes += static_cast<char>(bits >> (count -= 8) & 255);
  }
  return bytes;
}

/// The picture in a sheet's data URI.
struct Picture {
  explicit Picture(const PictureSheet& sheet) {
    const std::string uri = sheet.to_json().at("png"), prefix = "data:image/png;base64,";
    REQUIRE(uri.starts_with(prefix));
    const std::string file = decode_base64(uri.substr(prefix.size()));
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    REQUIRE(png_image_begin_read_from_memory(&image, file.data(), file.size()) != 0);
    image.format = PNG_FORMAT_RGB;
    pixels.resize(PNG_IMAGE_SIZE(image));
    REQUIRE(png_image_finish_read(&image, nullptr, pixels.data(), 0, nullptr) != 0);
    width = image.width;
    height = image.height;
  }
  std::array<int, 3> at(std::int64_t x, std::int64_t y) const {
    const std::uint8_t* pixel = pixels.data() + (y * width + x) * 3;
    return {pixel[0], pixel[1], pixel[2]};
  }
  std::int64_t width, height;
  std::vector<std::uint8_t> pixels;
};

using Color = std::array<int, 3>;

}  // namespace

TEST_CASE("base64: the examples of RFC 4648, and bytes above 127") {
  CHECK(base64("") == "");
  CHECK(base64("f") == "Zg==");
  CHECK(base64("fo") == "Zm8=");
  CHECK(base64("foo") == "Zm9v");
  CHECK(base64("foob") == "Zm9vYg==");
  CHECK(base64("fooba") == "Zm9vYmE=");
  CHECK(base64("foobar") == "Zm9vYmFy");
  CHECK(base64("\xff\xfe\xfd") == "//79");
}

TEST_CASE("a sheet of pictures: row by row, in the order of adding") {
  std::vector<std::uint8_t> values;
  for (int k = 0; k < 45; ++k)
    values.insert(values.end(), 2 * 2 * 3, static_cast<std::uint8_t>(4 * k));
  const Tensor images = from_vector(values, {45, 2, 2, 3});
  PictureSheet sheet(2);
  CHECK(sheet.add(images.slice(0, 1)) == 0);
  CHECK(sheet.add(images.slice(1, 45)) == 1);
  CHECK(sheet.to_json().at("side") == 2);
  CHECK(sheet.to_json().at("columns") == 40);
  const Picture picture(sheet);
  CHECK(picture.width == 80);
  CHECK(picture.height == 4);
  for (int k = 0; k < 45; ++k)
    for (int corner = 0; corner < 4; ++corner)
      CHECK(picture.at(k % 40 * 2 + corner % 2, k / 40 * 2 + corner / 2) ==
            Color{4 * k, 4 * k, 4 * k});
}

TEST_CASE("a sheet with as many columns as asked for") {
  PictureSheet sheet(2, 3);
  sheet.add(empty({7, 2, 2, 3}, {.dtype = DType::uint8}));
  CHECK(sheet.to_json().at("columns") == 3);
  CHECK(Picture(sheet).width == 6);
  CHECK(Picture(sheet).height == 6);
}

TEST_CASE("pictures are resized: the mean of pixels, or each repeated") {
  const Tensor image =
      from_vector<std::uint8_t>({0, 4, 8, 40, 44, 48, 80, 84, 88, 120, 124, 128}, {1, 2, 2, 3});
  PictureSheet same(2), smaller(1), larger(4);
  same.add(image), smaller.add(image), larger.add(image);
  CHECK(Picture(same).at(1, 0) == Color{40, 44, 48});
  CHECK(Picture(same).at(0, 1) == Color{80, 84, 88});
  CHECK(Picture(smaller).at(0, 0) == Color{60, 64, 68});
  for (int y = 0; y < 4; ++y)
    for (int x = 0; x < 4; ++x) CHECK(Picture(larger).at(x, y)[0] == 40 * (x / 2) + 80 * (y / 2));
}

TEST_CASE("pictures of one channel are grey; colours keep six bits") {
  PictureSheet sheet(1);
  sheet.add(from_vector<std::uint8_t>({0, 1, 2, 129, 130, 253, 255}, {7, 1, 1, 1}));
  const Picture picture(sheet);
  const int wanted[] = {0, 0, 4, 128, 132, 252, 252};
  for (int i = 0; i < 7; ++i) CHECK(picture.at(i, 0) == Color{wanted[i], wanted[i], wanted[i]});
}

TEST_CASE("a sheet of noise is smaller than its pixels, before base64") {
  std::vector<std::uint8_t> values(40 * 32 * 32 * 3);
  std::uint32_t state = 1;
  for (auto& value : values)
    value = static_cast<std::uint8_t>((state = state * 1664525 + 1013904223) >> 24);
  PictureSheet sheet(32);
  sheet.add(from_vector(values, {40, 32, 32, 3}));
  CHECK(sheet.to_json().at("png").get<std::string>().size() <
        0.82 * 4.0 / 3 * double(values.size()));
}

TEST_CASE("a sheet refuses what is no picture") {
  PictureSheet sheet(4);
  const auto error = [&](const Shape& shape) {
    return error_of([&] { sheet.add(empty(shape, {.dtype = DType::uint8})); });
  };
  CHECK(error({0, 4, 4, 3}) == "[pictures] images must be [K, H, W, 1 or 3]; got [0, 4, 4, 3]");
  CHECK(error({1, 4, 4, 2}) == "[pictures] images must be [K, H, W, 1 or 3]; got [1, 4, 4, 2]");
  CHECK(error({4, 4, 3}) == "[pictures] images must be [K, H, W, 1 or 3]; got [4, 4, 3]");
}

TEST_CASE("views are shown without their normalisation, within what pixels can be") {
  const data::Normalization normalization{{0.5f, 0.25f, 0.0f}, {0.25f, 0.5f, 1.0f}};
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor views = from_vector<float>({2, 1, 0.2f, 9, -9, NAN, 0, -inf, inf}, {3, 1, 1, 3});
  const Tensor shown = denormalize(views, normalization);
  CHECK(shown.shape() == views.shape());
  CHECK(shown.to_vector<std::uint8_t>() ==
        std::vector<std::uint8_t>{255, 191, 51, 255, 0, 0, 128, 0, 255});
  CHECK(denormalize(views, {}).to_vector<std::uint8_t>()[2] == 51);
}
