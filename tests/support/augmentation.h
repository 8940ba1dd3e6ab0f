// An augmentation for tests of the data pipeline.
#pragma once

#include <gradus/data/augment_options.h>

namespace gradus::test {

/// Every step, each with some probability, as self-supervised training has them.
inline data::AugmentOptions every_step() {
  return {.random_crop = true,
          .flip_probability = 0.5f,
          .jitter_probability = 0.8f,
          .grayscale_probability = 0.2f,
          .blur_probability = 0.5f,
          .solarize_probability = 0.2f};
}

}  // namespace gradus::test
