// Pictures inside the report's page: sheets of thumbnails.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include <gradus/data/dataset.h>

namespace gradus::vicreg {

/// Pictures of `side` x `side` pixels on one sheet, row by row.
class PictureSheet {
 public:
  /// With `columns` pictures a row.
  explicit PictureSheet(std::int64_t side, std::int64_t columns = 40)
      : side_(side), columns_(columns) {}

  /// Adds images [K, H, W, C] uint8, C 1 or 3, each resized (larger ones by the mean of the pixels,
  /// smaller ones by repeating them); returns the number of the first, from 0. Colours keep 6 of
  /// their 8 bits, so that a PNG even of noise is smaller than its pixels.
  std::int64_t add(const Tensor& images);

  /// The sheet as a PNG file's bytes.
  std::string png() const;
  /// {"png": "data:image/png;base64,...", "side": 32, "columns": 40}; picture i is in row
  /// i / columns.
  nlohmann::json to_json() const;

 private:
  std::int64_t side_, columns_;
  std::int64_t count_ = 0;
  std::vector<std::uint8_t> pixels_;  // [rows * side, columns * side, 3]
};

/// Views float32, normalised as given, as the images uint8 that they show; what is beyond [0, 1] is
/// clamped, NaN is black.
Tensor denormalize(const Tensor& views, const data::Normalization& normalization);

/// Bytes as text in Base64 (RFC 4648), padded.
std::string base64(std::string_view bytes);

}  // namespace gradus::vicreg
