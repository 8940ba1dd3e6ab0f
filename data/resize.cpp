#include <gradus/data/resize.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include <gradus/tensor/check.h>
#include "data/internal/images.h"
#include "tensor/cpu/parallel.h"

namespace gradus::data {
namespace {

/// The source pixels first, first + 1, ... that an output pixel is the weighted mean of.
struct Taps {
  std::int64_t first;
  std::vector<float> weights;
};

/// Taps of every output pixel when `source` pixels become `target`.
std::vector<Taps> make_taps(std::int64_t source, std::int64_t target) {
  const double ratio = static_cast<double>(source) / static_cast<double>(target);
  const double reach = std::max(ratio, 1.0);
  std::vector<Taps> all;
  for (std::int64_t i = 0; i < target; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * ratio;
    const auto first =
        std::max(std::int64_t{0}, static_cast<std::int64_t>(std::ceil(centre - reach - 0.5)));
    const auto last = std::min(source - 1, static_cast<std::int64_t>(centre + reach - 0.5));
    std::vector<double> weights;
    double sum = 0;
    for (std::int64_t x = first; x <= last; ++x) {
      weights.push_back(std::max(0.0, 1 - std::abs(static_cast<double>(x) + 0.5 - centre) / reach));
      sum += weights.back();
    }
    Taps taps{first, {}};
    for (const double weight : weights) taps.weights.push_back(static_cast<float>(weight / sum));
    all.push_back(std::move(taps));
  }
  return all;
}

/// One image: `image` points to the square's corner, its rows `stride` bytes apart; `output`
/// [side, side, channels].
void resize_one(const std::vector<Taps>& taps, std::int64_t square, std::int64_t channels,
                std::int64_t stride, const std::uint8_t* image, std::uint8_t* output) {
  const auto side = static_cast<std::int64_t>(taps.size());
  const std::int64_t width = side * channels;
  std::vector<float> rows(static_cast<std::size_t>(square * width));  // narrowed, not yet lowered
  for (std::int64_t y = 0; y < square; ++y) {
    for (std::int64_t x = 0; x < side; ++x) {
      const auto& [first, weights] = taps[static_cast<std::size_t>(x)];
      for (std::int64_t c = 0; c < channels; ++c) {
        const std::uint8_t* from = image + y * stride + first * channels + c;
        float sum = 0;
        for (const float weight : weights) {
          sum += weight * static_cast<float>(*from);
          from += channels;
        }
        rows[static_cast<std::size_t>(y * width + x * channels + c)] = sum;
      }
    }
  }
  for (std::int64_t y = 0; y < side; ++y) {
    const auto& [first, weights] = taps[static_cast<std::size_t>(y)];
    for (std::int64_t x = 0; x < width; ++x) {
      const float* from = rows.data() + first * width + x;
      float sum = 0;
      for (const float weight : weights) {
        sum += weight * *from;
        from += width;
      }
      output[y * width + x] = static_cast<std::uint8_t>(std::lround(std::clamp(sum, 0.0f, 255.0f)));
    }
  }
}

}  // namespace

Tensor resize_square(const Tensor& images, std::int64_t side) {
  check(images.defined() && images.rank() == 4 && images.dtype() == DType::uint8 &&
            images.numel() > 0 && images.device() == Device::cpu,
        "resize", "images must be uint8 [N, H, W, C] on the CPU, and not empty");
  check(side >= 1 && side <= 65536, "resize", "the side must lie in [1, 65536]; got {}", side);
  const std::int64_t count = images.size(0), height = images.size(1), width = images.size(2),
                     channels = images.size(3);
  if (height == side && width == side) return images;
  const std::int64_t square = std::min(height, width), stride = width * channels;
  const std::vector<Taps> taps = make_taps(square, side);
  Tensor resized = empty_images(count, side, side, channels);
  const std::uint8_t* corner = images.data<std::uint8_t>() + (height - square) / 2 * stride +
                               (width - square) / 2 * channels;
  auto* output = resized.data<std::uint8_t>();
  cpu::parallel_tasks(count, [&](std::int64_t i) {
    resize_one(taps, square, channels, stride, corner + i * height * stride,
               output + i * side * side * channels);
  });
  return resized;
}

}  // namespace gradus::data
