// A labelled set of images in memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <gradus/tensor/check.h>
#include <gradus/tensor/tensor.h>

namespace gradus::data {

/// Which part of a data set.
enum class Split : std::uint8_t { train, test };

/// "train" or "test".
constexpr std::string_view name(Split split) { return split == Split::train ? "train" : "test"; }

/// Images with their class labels. Copies share the elements.
struct Dataset {
  Tensor images;                         ///< uint8 [N, H, W, 3], on any device
  Tensor labels;                         ///< int64 [N] on the CPU, in [0, class_names.size())
  std::vector<std::string> class_names;  ///< one a class

  std::int64_t size() const { return images.defined() ? images.size(0) : 0; }
  std::int64_t height() const { return images.size(1); }
  std::int64_t width() const { return images.size(2); }

  /// The first `count` images, sharing memory with this set; all of them if there are fewer.
  Dataset take(std::int64_t count) const {
    check(count >= 1, "dataset", "the number of images to keep must be at least 1; got {}", count);
    const std::int64_t kept = count < size() ? count : size();
    return {images.slice(0, kept), labels.slice(0, kept), class_names};
  }

  /// This set with its images on `device`, for several loaders that share them there.
  Dataset to(Device device) const { return {images.to(device), labels, class_names}; }
};

}  // namespace gradus::data
