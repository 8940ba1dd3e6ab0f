// A set of images in memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <gradus/tensor/tensor.h>

namespace gradus::data {

/// Which part of a data set.
enum class Split : std::uint8_t { train, test };

/// "train" or "test".
constexpr std::string_view name(Split split) { return split == Split::train ? "train" : "test"; }

/// Makes a network's input of pixels x in [0, 1]: (x - mean) / std, with one of each a channel.
/// Empty ones leave x as it is.
struct Normalization {
  std::vector<float> mean{};
  std::vector<float> std{};
};

/// Throws Error unless there are a finite mean and a positive, finite std for each channel, or
/// none.
void validate(const Normalization& normalization, std::int64_t channels);

/// Mean and standard deviation of images uint8 [N, H, W, C] on the CPU, not empty, over all pixels
/// of a channel, x / 255 in [0, 1]. A std is at least 1 / 255, so that a constant channel has one,
/// too.
Normalization measure_normalization(const Tensor& images);

/// Images with their class labels. Copies share the elements.
struct Dataset {
  Tensor images;  ///< uint8 [N, H, W, C], on any device
  /// int64 [N] on the CPU, in [0, class_names.size()); undefined where none are known.
  Tensor labels;
  std::vector<std::string> class_names{};  ///< one a class; none where they do not matter
  Normalization normalization{};           ///< what batches are normalised with

  /// Number of images; 0 where there are none yet. The others ask for images.
  std::int64_t size() const { return images.defined() ? images.size(0) : 0; }
  std::int64_t height() const { return images.size(1); }
  std::int64_t width() const { return images.size(2); }
  std::int64_t channels() const { return images.size(3); }

  bool is_labelled() const { return labels.defined(); }

  /// The first `count` >= 1 images, sharing memory with this set; all of them if there are fewer.
  Dataset take(std::int64_t count) const;
  /// This set with its images on `device`, for several loaders that share them there.
  Dataset to(Device device) const;
};

/// Throws Error unless the set has images, fewer than 2^32, a label for each or none at all, and a
/// normalisation that fits. The labels' values are not looked at.
void validate(const Dataset& dataset);

}  // namespace gradus::data
