#include "vicreg/datasets.h"

#include <fmt/ranges.h>

#include <algorithm>

#include <gradus/data/cifar10.h>
#include <gradus/data/cifar100.h>
#include <gradus/data/image_folder.h>
#include <gradus/data/resize.h>
#include <gradus/data/stl10.h>
#include <gradus/data/synthetic.h>
#include "common/command_line.h"
#include "common/program.h"

namespace gradus::vicreg {
namespace {

data::Dataset load_folder(const DataOptions& o, data::Split split, std::int64_t limit) {
  data::ImageFolder loaded = data::load_image_folder(
      o.folder, split,
      {.size = o.image_size, .limit = limit, .skip_unreadable = o.skip_unreadable});
  if (const auto& skipped = loaded.skipped; !skipped.empty())
    apps::print("files left out: {}, the first {}\n", skipped.size(), skipped.front());
  return std::move(loaded.dataset);
}

data::Dataset load_files(const DataOptions& o, data::Split split) {
  const bool for_training = split == data::Split::train;
  const std::int64_t limit = for_training ? o.limit : o.test_limit;
  const std::int64_t full = for_training ? 50000 : 10000;
  const std::int64_t count = limit > 0 ? std::min(limit, full) : full;
  switch (o.dataset) {
    case DatasetName::cifar10: return data::load_cifar10(o.folder, split).take(count);
    case DatasetName::cifar100: return data::load_cifar100(o.folder, split).take(count);
    case DatasetName::stl10: return data::load_stl10(o.folder, split).take(count);
    case DatasetName::folder: return load_folder(o, split, limit);
    case DatasetName::synthetic: break;
  }
  return data::synthetic_dataset(count, split);
}

/// The data set with images of the size that the options name.
data::Dataset resized(const DataOptions& o, data::Dataset dataset) {
  if (o.image_size > 0) dataset.images = data::resize_square(dataset.images, o.image_size);
  return dataset;
}

/// The same with a normalisation.
data::Dataset prepared(const DataOptions& o, data::Dataset dataset) {
  dataset = resized(o, std::move(dataset));
  if (dataset.normalization.mean.empty())
    dataset.normalization = data::measure_normalization(dataset.images);
  return dataset;
}

}  // namespace

void add_data_options(CLI::App& app, DataOptions& o) {
  apps::add_choice(app, "--dataset", o.dataset, dataset_names);
  app.add_option("--data", o.folder,
                 "Folder with the data set's binary files (or with cifar-10-batches-bin, "
                 "cifar-100-binary or stl10_binary); of 'folder': with train and test, in which "
                 "each class has a folder of images, or images have no class")
      ->check(apps::folder_name());
  apps::add_integer(app, "--limit", o.limit, "Use the first N training images; 0: all", 0);
  apps::add_integer(app, "--test-limit", o.test_limit, "Use the first N test images; 0: all", 0);
  apps::add_integer(app, "--image-size", o.image_size,
                    "Pixels a side to which the centred square of each image is resized when it is "
                    "read; 0: as the images are",
                    0, 4096);
  apps::add_switch(app, "--skip-unreadable,!--refuse-unreadable", o.skip_unreadable,
                   "Leave out image files that cannot be read, or refuse the data set (default)");
}

data::Dataset load_training_set(const DataOptions& options) {
  return prepared(options, load_files(options, data::Split::train));
}

data::Dataset load_test_set(const DataOptions& options, const data::Normalization& normalization) {
  data::Dataset dataset = resized(options, load_files(options, data::Split::test));
  dataset.normalization = normalization;
  return dataset;
}

data::Dataset load_pretraining_set(const DataOptions& options) {
  if (options.dataset != DatasetName::stl10) return load_training_set(options);
  constexpr std::int64_t all = 100'000;
  return prepared(
      options, data::load_stl10_unlabeled(options.folder, options.limit > 0 ? options.limit : all));
}

std::string describe(const DataOptions& options, const data::Dataset& dataset) {
  const auto& [mean, std] = dataset.normalization;
  return fmt::format("{} images of {}, {}x{}, {}, mean {:.4f}, std {:.4f}", dataset.size(),
                     apps::name_of(dataset_names, options.dataset), dataset.width(),
                     dataset.height(),
                     dataset.is_labelled() ? fmt::format("{} classes", dataset.class_names.size())
                                           : "without labels",
                     fmt::join(mean, " "), fmt::join(std, " "));
}

}  // namespace gradus::vicreg
