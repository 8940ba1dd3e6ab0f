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

Normalization measure_normalization(const Tensor& images) {
  check(images.defined() && images.rank() == 4 && images.dtype() == DType::uint8 &&
            images.numel() > 0 && images.device() == Device::cpu,
        "dataset", "the images to measure must be uint8 [N, H, W, C] on the CPU, and not empty");
  const std::int64_t channels = images.size(3), pixels = images.numel() / channels;
  const auto* values = images.data<std::uint8_t>();
  Normalization result;
  for (std::int64_t c = 0; c < channels; ++c) {
    std::int64_t sum = 0, squares = 0;  // of integers, so exact in any order
#pragma omp parallel for reduction(+ : sum, squares)
    for (std::int64_t i = 0; i < pixels; ++i) {
      const std::int64_t value = values[i * channels + c];
      sum += value;
      squares += value * value;
    }
    const double mean = static_cast<double>(sum) / static_cast<double>(pixels);
    const double variance =
        static_cast<double>(squares) / static_cast<double>(pixels) - mean * mean;
    result.mean.push_back(static_cast<float>(mean / 255));
    result.std.push_back(static_cast<float>(std::sqrt(std::max(variance, 1.0)) / 255));
  }
  return result;
}

Dataset Dataset::take(std::int64_t count) const {
  check(count >= 1, "dataset", "the number of images to keep must be at least 1; got {}", count);
  const std::int64_t kept = std::min(count, size());
  return {images.slice(0, kept), is_labelled() ? labels.slice(0, kept) : labels, class_names,
          normalization};
}

Dataset Dataset::to(Device device) const {
  return {images.to(device), labels, class_names, normalization};
}

void validate(const Dataset& dataset) {
  constexpr std::int64_t limit = std::int64_t{1} << 32;  // a word of the random counter
  check(dataset.images.defined(), "dataset", "the data set is empty");
  const Shape& images = dataset.images.shape();
  check(dataset.images.dtype() == DType::uint8 && images.rank() == 4, "dataset",
        "images must be uint8 [N, H, W, C]; got {} {}", name(dataset.images.dtype()), images);
  check(dataset.images.numel() >= 1 && images[0] < limit, "dataset",
        "there must be images, and fewer than 2^32; got {}", images);
  validate(dataset.normalization, images[3]);
  if (!dataset.is_labelled()) return;
  check(dataset.labels.dtype() == DType::int64 && dataset.labels.shape() == Shape{images[0]},
        "dataset", "labels must be int64 [N]; got {} {} beside images {}",
        name(dataset.labels.dtype()), dataset.labels.shape(), images);
  check(dataset.labels.device() == Device::cpu, "dataset", "labels must lie on the CPU");
}

}  // namespace gradus::data
