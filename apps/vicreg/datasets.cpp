#include "vicreg/datasets.h"

#include <algorithm>

#include <gradus/data/cifar10.h>
#include <gradus/data/synthetic.h>
#include "common/command_line.h"

namespace gradus::vicreg {

void add_data_options(CLI::App& app, DataOptions& o, const std::string& group) {
  apps::add_choice(app, "--dataset", o.dataset, dataset_names)->group(group);
  app.add_option("--data", o.folder, "Folder with CIFAR-10's binary files")
      ->check(apps::folder_name())
      ->group(group);
  app.add_option("--limit", o.limit, "Use the first N training images; 0: all")
      ->check(apps::non_negative())
      ->group(group);
}

data::Dataset load_dataset(const DataOptions& options, data::Split split, std::int64_t limit) {
  const std::int64_t full = split == data::Split::train ? 50000 : 10000;
  const std::int64_t count = limit > 0 ? std::min(limit, full) : full;
  switch (options.dataset) {
    case DatasetName::cifar10: return data::load_cifar10(options.folder, split).take(count);
    case DatasetName::synthetic: break;
  }
  return data::synthetic_dataset(count, split);
}

}  // namespace gradus::vicreg
