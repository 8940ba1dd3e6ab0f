// Any bytes are decoded as a PNG or JPEG, or refused with an Error.
#include "data/internal/decode_image.h"

#include <cstddef>
#include <cstdint>

#include <gradus/tensor/check.h>
#include "tests/fuzz/require.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using gradus::test::require;
  constexpr std::int64_t most_pixels = 1 << 20;  // a small file may have many scans of many pixels
  try {
    const gradus::Tensor image = gradus::data::decode_image({data, size}, most_pixels);
    require(image.rank() == 3 && image.size(2) == 3, "red, green and blue");
    require(image.numel() > 0 && image.numel() <= 3 * most_pixels, "pixels, and not too many");
  } catch (const gradus::Error& error) {
    require(error.message().starts_with("it "), "an error says what is wrong");
  }
  return 0;
}
