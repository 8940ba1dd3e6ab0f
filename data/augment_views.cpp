// Many views at once, on the device of the images.
#include <algorithm>
#include <cstring>

#include <gradus/data/augment.h>
#include <gradus/tensor/check.h>
#include "data/internal/augment_kernels.h"
#include "tensor/backend/dispatch.h"

namespace gradus::data {
namespace {

void check_views(std::span<const AugmentedView> views, const Shape& images) {
  for (const AugmentedView& view : views) {
    const AugmentParameters& p = view.parameters;
    check(view.sample >= 0 && view.sample < images[0], "augment",
          "sample {} does not lie in images {}", view.sample, images);
    const CropBox& box = p.crop;
    check(box.top >= 0 && box.left >= 0 && box.height >= 1 && box.width >= 1 &&
              box.height <= images[1] - box.top && box.width <= images[2] - box.left,
          "augment", "the crop (top {}, left {}, height {}, width {}) does not lie in images {}",
          box.top, box.left, box.height, box.width, images);
    check(images[3] == 3 || (!p.jitter && !p.grayscale), "augment",
          "colour jitter and grayscale need 3 channels; got images {}", images);
  }
}

/// Mean, then std, of every channel: what leaves the pixels as they are where there is none.
std::vector<float> statistics(const Normalization& normalization, std::int64_t channels) {
  std::vector<float> all = normalization.mean;
  all.insert(all.end(), normalization.std.begin(), normalization.std.end());
  if (all.empty()) {
    all.resize(static_cast<std::size_t>(2 * channels), 0.0f);
    std::fill(all.begin() + channels, all.end(), 1.0f);
  }
  return all;
}

}  // namespace

void check_image_size(const AugmentOptions& options, std::int64_t height, std::int64_t width,
                      std::int64_t channels) {
  constexpr std::int64_t most = std::int64_t{1} << 14;
  check(height <= most && width <= most, "augment",
        "images must have at most {} pixels a side; got {} x {}", most, height, width);
  const Size2 view = options.view_size({height, width});
  const std::int64_t pixels = std::max(height * width, view.height * view.width);
  constexpr std::int64_t most_values = std::int64_t{1}
                                       << 30;  // so that an int can step past the last one
  check(pixels == 0 || channels <= most_values / pixels, "augment",
        "images of {} x {} pixels with {} channels have more values than can be counted", height,
        width, channels);
}

void augment(const AugmentOptions& options, const Normalization& normalization,
             std::span<const AugmentedView> views, const Tensor& images, Tensor& output) {
  check(images.defined() && output.defined(), "augment", "images and output must be defined");
  const Shape& shape = images.shape();
  check(images.dtype() == DType::uint8 && shape.rank() == 4, "augment",
        "images must be uint8 [N, H, W, C]; got {} {}", name(images.dtype()), shape);
  const std::int64_t channels = shape[3];
  check_image_size(options, shape[1], shape[2], channels);
  validate(normalization, channels);
  const auto count = static_cast<std::int64_t>(views.size());
  const Size2 size = options.view_size({shape[1], shape[2]});
  const Shape expected = {count, size.height, size.width, channels};
  check(output.dtype() == DType::float32 && output.shape() == expected &&
            output.device() == images.device(),
        "augment", "output must be float32 {} on {}, where the images lie; got {} {} on {}",
        expected, name(images.device()), name(output.dtype()), output.shape(),
        name(output.device()));
  check_views(views, shape);
  if (output.numel() == 0) return;

  // The views and the statistics reach the device together.
  const std::vector<float> floats = statistics(normalization, channels);
  const std::size_t views_bytes = views.size_bytes(), floats_bytes = sizeof(float) * floats.size();
  Tensor packed = empty({static_cast<std::int64_t>(views_bytes + floats_bytes)}, {DType::uint8});
  std::memcpy(packed.raw(), views.data(), views_bytes);
  std::memcpy(static_cast<std::byte*>(packed.raw()) + views_bytes, floats.data(), floats_bytes);
  const Tensor on_device = packed.to(images.device());
  const auto* mean = reinterpret_cast<const float*>(on_device.data<std::uint8_t>() + views_bytes);
  const ViewFormat format{.height = static_cast<int>(shape[1]),
                          .width = static_cast<int>(shape[2]),
                          .channels = static_cast<int>(channels),
                          .view_height = static_cast<int>(size.height),
                          .view_width = static_cast<int>(size.width),
                          .mean = mean,
                          .std = mean + channels};
  GRADUS_KERNEL(images.device(),
                augment(options, format, static_cast<const AugmentedView*>(on_device.raw()), count,
                        images.data<std::uint8_t>(), output.data<float>()));
}

}  // namespace gradus::data
