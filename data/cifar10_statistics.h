// What images of CIFAR-10 are normalised with.
#pragma once

namespace gradus::data {

/// Mean and standard deviation of the training pixels in [0, 1], by channel (R, G, B).
inline constexpr float cifar10_mean[3] = {0.4914f, 0.4822f, 0.4465f};
inline constexpr float cifar10_std[3] = {0.2470f, 0.2435f, 0.2616f};

}  // namespace gradus::data
