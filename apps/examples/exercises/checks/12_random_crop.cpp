#include "check.h"

GRADUS_EXERCISE {
  const auto check = [](int height, int width, std::array<double, 4> u, std::array<int, 4> crop,
                        const std::string& hint) {
    const Crop got = random_crop(height, width, u);
    expect_near(
        fmt::format("crop {{top, left, h, w}} of an image of {} rows and {} columns, number",
                    height, width),
        std::vector<int>{got.top, got.left, got.h, got.w},
        std::vector<int>(crop.begin(), crop.end()), 0, hint);
  };
  check(32, 48, {0.25, 0.5, 0, 0}, {0, 0, 25, 25},
        "u[1] = 0.5 is the middle of the logarithms: a square");
  check(32, 48, {0.25, 0, 0, 0}, {0, 0, 29, 21},
        "ratio is width / height: 3/4 is taller than wide");
  check(32, 48, {0.25, 0.99999, 0.99999, 0.99999}, {11, 19, 21, 29},
        "u[2] and u[3]: the crop ends at the border");
  check(32, 48, {0.99, 0.5, 0, 0}, {0, 0, 0, 0}, "39 x 39 does not fit into 32 rows");
  check(48, 32, {0.99, 0.5, 0, 0}, {0, 0, 0, 0}, "39 x 39 does not fit into 32 columns");
}
