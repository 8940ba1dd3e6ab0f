#include <gradus/data/dataset.h>

#include <algorithm>
#include <cmath>

#include <gradus/tensor/check.h>

namespace gradus::data {

void validate(const Normalization& normalization, std::int64_t channels) {
  const auto& [mean, std] = normalization;
  const auto count = static_cast<std::size_t>(channels);
  check(mean.size() == std.size() && (mean.empty() || mean.size() == count), "dataset",
        "the normalisation needs a mean and a std for each of {} channels, or none; got {} and {}",
        channels, mean.size(), std.size());
  for (const float value : mean)
    check(std::isfinite(value), "dataset", "a mean must be finite; got {}", value);
  for (const float value : std)
    check(value > 0.0f && std::isfinite(value), "dataset",
          "a std must be positive and finite; got {}", value);
}

Dataset Dataset::take(std::int64_t count) const {
  check(count >= 1, "dataset", "the number of images to keep must be at least 1; got {}", count);
  const std::int64_t kept = std::min(count, size());
  return {images.slice(0, kept), labels.slice(0, kept), class_names, normalization};
}

Dataset Dataset::to(Device device) const {
  return {images.to(device), labels, class_names, normalization};
}

void validate(const Dataset& dataset) {
  constexpr std::int64_t limit = std::int64_t{1} << 32;  // a word of the random counter
  check(dataset.images.defined() && dataset.labels.defined(), "dataset", "the data set is empty");
  const Shape& images = dataset.images.shape();
  check(dataset.images.dtype() == DType::uint8 && images.rank() == 4, "dataset",
        "images must be uint8 [N, H, W, C]; got {} {}", name(dataset.images.dtype()), images);
  check(dataset.images.numel() >= 1 && images[0] < limit, "dataset",
        "there must be images, and fewer than 2^32; got {}", images);
  check(dataset.labels.dtype() == DType::int64 && dataset.labels.shape() == Shape{images[0]},
        "dataset", "labels must be int64 [N]; got {} {} beside images {}",
        name(dataset.labels.dtype()), dataset.labels.shape(), images);
  check(dataset.labels.device() == Device::cpu, "dataset", "labels must lie on the CPU");
  validate(dataset.normalization, images[3]);
}

}  // namespace gradus::data
