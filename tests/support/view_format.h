// Formats of views for tests that make one at a time.
#pragma once

#include <gradus/data/augment_geometry.h>
#include <gradus/data/cifar10.h>
#include <gradus/tensor/size2.h>

namespace gradus::test {

/// Views of images of red, green and blue, normalised as CIFAR-10; of the images' size, or `view`.
inline data::ViewFormat view_format(int height, int width, Size2 view = 0,
                                    const data::Normalization& normalization = {}) {
  static const data::Normalization cifar10 = data::cifar10_normalization();
  const data::Normalization& used = normalization.mean.empty() ? cifar10 : normalization;
  if (view == Size2(0)) view = {height, width};
  return {.height = height,
          .width = width,
          .channels = static_cast<int>(used.mean.size()),
          .view_height = static_cast<int>(view.height),
          .view_width = static_cast<int>(view.width),
          .mean = used.mean.data(),
          .std = used.std.data()};
}

}  // namespace gradus::test
