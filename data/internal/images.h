// Images in memory.
#pragma once

#include <cstdint>

#include <gradus/tensor/tensor.h>

namespace gradus::data {

/// Room for images, uint8 [count, height, width, channels]. Throws Error if it is more than the
/// memory of the machine, or than this process may have.
Tensor empty_images(std::int64_t count, std::int64_t height, std::int64_t width,
                    std::int64_t channels = 3);

}  // namespace gradus::data
