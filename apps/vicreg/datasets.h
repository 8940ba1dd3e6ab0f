// The data sets that the programs know.
#pragma once

#include <gradus/data/dataset.h>
#include "vicreg/options.h"

namespace gradus::vicreg {

/// The training or test images that the options name: CIFAR-10 from its folder, or the built-in set
/// (50,000 and 10,000 images, or as many as `limit` allows). `limit` 0 is all.
data::Dataset load_dataset(const DataOptions& options, data::Split split, std::int64_t limit);

}  // namespace gradus::vicreg
