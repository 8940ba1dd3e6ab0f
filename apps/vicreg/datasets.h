// The data sets that the programs know.
#pragma once

#include <string>

#include <gradus/data/dataset.h>
#include "common/choice.h"

namespace CLI {
class App;
}  // namespace CLI

namespace gradus::vicreg {

/// The data sets of data/, under their names on the command line.
enum class DatasetName : std::uint8_t { cifar10, cifar100, stl10, folder, synthetic };
inline constexpr apps::Choices<DatasetName, 5> dataset_names{
    {{DatasetName::cifar10, "cifar10"},
     {DatasetName::cifar100, "cifar100"},
     {DatasetName::stl10, "stl10", "pre-training takes its unlabelled images"},
     {DatasetName::folder, "folder", "PNG and JPEG files"},
     {DatasetName::synthetic, "synthetic", "built in"}}};

/// Where the images come from.
struct DataOptions {
  DatasetName dataset = DatasetName::cifar10;
  std::string folder = ".";      ///< of the data set's files; not read for `synthetic`
  std::int64_t limit = 0;        ///< the first N training images; 0: all
  std::int64_t test_limit = 0;   ///< the first N test images; 0: all
  std::int64_t image_size = 0;   ///< pixels a side, to which images are resized; 0: as they are
  bool skip_unreadable = false;  ///< of `folder`: leave files out that cannot be read
};

/// Adds the options that say where the images come from; their defaults are what `options` holds,
/// which receives what is given.
void add_data_options(CLI::App& app, DataOptions& options);

/// The training images that the options name, from the data set's folder, or of the built-in set
/// (50,000 images). They have a normalisation, the data set's own or measured on them. Throws Error
/// as the loaders in data/ do; says which files of a folder were left out.
data::Dataset load_training_set(const DataOptions& options);

/// The test images likewise (10,000 built-in ones), normalised as those that were trained on.
data::Dataset load_test_set(const DataOptions& options, const data::Normalization& normalization);

/// What is pre-trained on: the first options.limit training images, of STL-10 those without labels.
data::Dataset load_pretraining_set(const DataOptions& options);

/// What a line says of a data set: "5000 images of stl10, 96x96, 10 classes, mean ..., std ...".
std::string describe(const DataOptions& options, const data::Dataset& dataset);

}  // namespace gradus::vicreg
