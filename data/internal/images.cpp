#include "data/internal/images.h"

#include <unistd.h>

#include <algorithm>

#include <gradus/tensor/check.h>
#include <gradus/tensor/io/file.h>
#include <gradus/tensor/system.h>

namespace gradus::data {

Tensor empty_images(std::int64_t count, std::int64_t height, std::int64_t width,
                    std::int64_t channels) {
  const double bytes = static_cast<double>(count) * static_cast<double>(height) *
                       static_cast<double>(width) * static_cast<double>(channels);
  // Asked once: image folders make room for every file.
  static const double memory = std::min(static_cast<double>(::sysconf(_SC_PHYS_PAGES)) *
                                            static_cast<double>(::sysconf(_SC_PAGE_SIZE)),
                                        static_cast<double>(control_group_limit()));
  check(bytes < memory, "images",
        "{} images of {}x{} pixels take {}, and this process may have {} of memory; take fewer "
        "images or a smaller image size",
        count, height, width, format_bytes(static_cast<std::uint64_t>(std::min(bytes, 1e18))),
        format_bytes(static_cast<std::uint64_t>(memory)));
  return empty({count, height, width, channels}, {DType::uint8});
}

}  // namespace gradus::data
