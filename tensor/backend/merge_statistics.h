// Mean and variance of a batch from those of its parts.
#pragma once

#include <cstdint>

#include <gradus/tensor/host_device.h>

namespace gradus {

/// Those of one channel over `parts` equal parts, merged in their order (Chan, Golub and LeVeque,
/// 1979): of_parts [parts, 2, C] begins at the channel's mean in the first one.
template <class T>
GRADUS_HOST_DEVICE void merge_statistics(const T* of_parts, std::int64_t parts, std::int64_t C,
                                         T& mean, T& variance) {
  double sum = 0, squares = 0;
  for (std::int64_t part = 0; part < parts; ++part)
    sum += static_cast<double>(of_parts[part * 2 * C]);
  const double joint = sum / static_cast<double>(parts);
  for (std::int64_t part = 0; part < parts; ++part) {
    const double apart = static_cast<double>(of_parts[part * 2 * C]) - joint;
    squares += static_cast<double>(of_parts[(part * 2 + 1) * C]) + apart * apart;
  }
  mean = static_cast<T>(joint);
  variance = static_cast<T>(squares / static_cast<double>(parts));
}

}  // namespace gradus
