#include <gradus/data/augment.h>
#include "data/internal/augment_kernels.h"

namespace gradus::cpu {

void augment(const data::AugmentOptions& options, const data::ViewFormat& format,
             const data::AugmentedView* views, std::int64_t view_count, const std::uint8_t* images,
             float* output) {
  data::AugmentScratch scratch;
  const std::int64_t image_values = format.image_values(), view_values = format.view_values();
  for (std::int64_t v = 0; v < view_count; ++v) {
    data::apply(options, format, views[v].parameters, images + views[v].sample * image_values,
                output + v * view_values, scratch);
  }
}

}  // namespace gradus::cpu
