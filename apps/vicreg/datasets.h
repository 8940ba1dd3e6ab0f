// The data sets that the programs know.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include <gradus/data/dataset.h>
#include "common/choice.h"

namespace gradus::vicreg {

enum class DatasetName : std::uint8_t { cifar10, synthetic };
inline constexpr apps::Choices<DatasetName, 2> dataset_names{
    {{DatasetName::cifar10, "cifar10"}, {DatasetName::synthetic, "synthetic", "built in"}}};

/// Where the images come from.
struct DataOptions {
  DatasetName dataset = DatasetName::cifar10;
  std::string folder = "cifar-10-batches-bin";
  std::int64_t limit = 0;  ///< the first N training images; 0 means all
};

void add_data_options(CLI::App& app, DataOptions& options, const std::string& group);

/// The training or test images that the options name: CIFAR-10 from its folder, or the built-in set
/// (50,000 and 10,000 images, or as many as `limit` allows). `limit` 0 is all.
data::Dataset load_dataset(const DataOptions& options, data::Split split, std::int64_t limit);

}  // namespace gradus::vicreg
