#include "vicreg/datasets.h"

#include <algorithm>

#include <gradus/data/cifar10.h>
#include <gradus/data/synthetic.h>
#include <gradus/tensor/check.h>

namespace gradus::vicreg {

data::Dataset load_dataset(const DataOptions& options, data::Split split, std::int64_t limit) {
  const std::int64_t full = split == data::Split::train ? 50000 : 10000;
  const std::int64_t count = limit > 0 ? std::min(limit, full) : full;
  if (options.dataset == "synthetic") return data::synthetic_dataset(count, split);
  check(options.dataset == "cifar10", "data", "unknown data set '{}'", options.dataset);
  return data::load_cifar10(options.folder, split).take(count);
}

}  // namespace gradus::vicreg
