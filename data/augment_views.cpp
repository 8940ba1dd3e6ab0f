// Many views at once, on the device of the images.
#include <gradus/data/augment.h>
#include <gradus/tensor/check.h>
#include <gradus/tensor/device_array.h>
#include "data/internal/augment_kernels.h"
#include "tensor/backend/dispatch.h"

namespace gradus::data {
namespace {

void check_views(std::span<const AugmentedView> views, const Shape& images) {
  for (const AugmentedView& view : views) {
    check(view.sample >= 0 && view.sample < images[0], "augment",
          "sample {} does not lie in images {}", view.sample, images);
    const CropBox& box = view.parameters.crop;
    check(box.top >= 0 && box.left >= 0 && box.height >= 1 && box.width >= 1 &&
              box.height <= images[1] - box.top && box.width <= images[2] - box.left,
          "augment", "the crop (top {}, left {}, height {}, width {}) does not lie in images {}",
          box.top, box.left, box.height, box.width, images);
  }
}

}  // namespace

void check_image_size(std::int64_t height, std::int64_t width) {
  constexpr std::int64_t most = std::int64_t{1} << 14;  // then 3 height width fits in an int
  check(height <= most && width <= most, "augment",
        "images must have at most {} pixels a side; got {} x {}", most, height, width);
}

void augment(const AugmentOptions& options, std::span<const AugmentedView> views,
             const Tensor& images, Tensor& output) {
  check(images.defined() && output.defined(), "augment", "images and output must be defined");
  const Shape& shape = images.shape();
  check(images.dtype() == DType::uint8 && shape.rank() == 4 && shape[3] == 3, "augment",
        "images must be uint8 [N, H, W, 3]; got {} {}", name(images.dtype()), shape);
  check_image_size(shape[1], shape[2]);
  const auto count = static_cast<std::int64_t>(views.size());
  const Shape expected = {count, options.size, options.size, 3};
  check(output.dtype() == DType::float32 && output.shape() == expected &&
            output.device() == images.device(),
        "augment", "output must be float32 {} on {}, where the images lie; got {} {} on {}",
        expected, name(images.device()), name(output.dtype()), output.shape(),
        name(output.device()));
  check_views(views, shape);
  if (count == 0) return;

  const Device device = images.device();
  DeviceArray<AugmentedView> copy;
  if (device != Device::cpu) copy.assign(views, device);
  const AugmentedView* on_device = device == Device::cpu ? views.data() : copy.data();
  GRADUS_KERNEL(device, augment(options, on_device, count, images.data<std::uint8_t>(),
                                static_cast<int>(shape[1]), static_cast<int>(shape[2]),
                                output.data<float>()));
}

}  // namespace gradus::data
