#include <gradus/data/augment.h>
#include "data/internal/augment_kernels.h"

namespace gradus::cpu {

void augment(const data::AugmentOptions& options, const data::AugmentedView* views,
             std::int64_t view_count, const std::uint8_t* images, int height, int width,
             float* output) {
  data::AugmentScratch scratch;
  const std::int64_t image_values = std::int64_t{3} * height * width;
  const std::int64_t view_values = std::int64_t{3} * options.size * options.size;
  for (std::int64_t v = 0; v < view_count; ++v) {
    data::apply(options, views[v].parameters, images + views[v].sample * image_values, width,
                output + v * view_values, scratch);
  }
}

}  // namespace gradus::cpu
