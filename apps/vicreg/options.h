// The options of `train`: one struct, its command line, its configuration file.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include <gradus/data/augment.h>
#include <gradus/nn/vicreg_loss.h>
#include <gradus/nn/vicreg_model.h>
#include <gradus/tensor/device.h>

namespace gradus::vicreg {

/// Where the images come from.
struct DataOptions {
  std::string dataset = "cifar10";  ///< "cifar10" or "synthetic"
  std::string folder = "cifar-10-batches-bin";
  std::int64_t limit = 0;  ///< the first N training images; 0 means all
};

/// The encoder and the projector.
struct ModelOptions {
  std::string architecture = "resnet18";  ///< "resnet18" or "resnet34"
  std::int64_t width = 64;                ///< channels of the first stage
  std::string stem = "cifar";             ///< "cifar" or "imagenet"
  std::int64_t stem_padding = 1;
  bool stem_bias = false;
  std::int64_t fc_features = 0;
  bool zero_init_residual = false;
  std::vector<std::int64_t> projector = std::vector<std::int64_t>(4, 1024);
};

/// Everything that `train` can be told. The defaults are the recipe "default".
struct TrainOptions {
  std::string recipe = "default";
  DataOptions data;
  ModelOptions model;

  std::string augment = "vicreg";  ///< "vicreg", "solo-learn" or "none"
  bool shuffle = true;
  bool drop_last = true;
  std::int64_t batch_size = 256;
  std::int64_t epochs = 500;
  std::int64_t steps = -1;  ///< stop after so many steps; -1: when the epochs are done

  nn::VICRegOptions loss;
  bool separate_views = false;

  std::string optimizer = "adam";  ///< "sgd", "adam", "adamw", "lars" or "lars-vicreg"
  double lr = 2e-4;
  bool scale_lr = false;  ///< multiply lr by batch_size / 256
  double weight_decay = 1e-6;
  double momentum = 0.9;  ///< of sgd and lars
  double trust = 0;       ///< LARS's coefficient; 0: 0.02, or 0.001 with lars-vicreg
  double clip_norm = 0;   ///< largest norm of the gradient; 0: no clipping
  bool decay_all = true;  ///< whether biases and norms decay (and, with LARS, adapt) too
  std::string schedule = "constant";  ///< "constant", "step", "cosine", "warmup-cosine" or "vicreg"
  std::int64_t warmup_epochs = 10;
  std::vector<std::int64_t> milestones{60, 80};  ///< epochs of the schedule "step"

  std::string device = "auto";
  bool bf16 = false;
  bool tf32 = false;
  int winograd = 4;  ///< see use_winograd (tensor/device.h)
  bool checkpoint_activations = false;
  int threads = 0;  ///< 0: all cores
  int workers = 2;
  std::uint64_t seed = 0;
  std::string out = "runs/vicreg";
  std::string init;
  bool resume = false;
  bool overwrite = false;
  std::int64_t checkpoint_every = 0;  ///< steps; 0: the end of every epoch
  std::int64_t knn_every = 0;         ///< epochs; 0: never
  std::int64_t knn_images = 5000;     ///< images of each split that kNN looks at, at most
  std::string export_file;
};

/// The defaults of a recipe: "default" or "solo-learn".
TrainOptions recipe_defaults(const std::string& recipe);

/// So many epochs at most: their steps fit 64 bits.
inline constexpr std::int64_t most_epochs = std::int64_t{1} << 30;

/// Adds the options that decide the encoder.
void add_architecture_options(CLI::App& app, ModelOptions& options, const std::string& group);

/// Reads the command line: defaults of the recipe, then the configuration file (--config; with
/// --resume the run's own config.toml unless another is named), then the command line.
/// `config` receives the resolved configuration as TOML. Returns false after printing the help.
/// Throws Error with one line that names the option at fault.
bool parse_train_options(int argc, const char* const* argv, TrainOptions& options,
                         std::string& config);

/// The options that decide what the weights become, by name. A checkpoint keeps them, and a resumed
/// run must agree.
nlohmann::json identity(const TrainOptions& options);

/// The architecture as JSON, kept in checkpoints and exported files, and back.
nlohmann::json to_json(const ModelOptions& options);
ModelOptions model_options_from_json(const nlohmann::json& json);

nn::VICRegModel::Options model_options(const ModelOptions& options);
data::AugmentOptions augment_options(const std::string& name);

/// What --winograd says of itself.
inline constexpr const char* winograd_help =
    "3x3 convolutions by Winograd's algorithm with tiles of 4x4 outputs (fastest) or 2x2 (less "
    "rounding), or 0: by plain sums";

/// The device that "cpu", "cuda" or "auto" names: auto is the GPU if one works, and otherwise the
/// CPU, after a line that says why. Throws Error if "cuda" does not work. `tf32`: see allow_tf32.
Device choose_device(const std::string& name, bool tf32 = false);
/// The device in words: "8 threads", or the GPU's name.
std::string device_text(Device device);
/// Sets the number of OpenMP threads (0: all cores) and returns it.
int set_threads(int threads);

}  // namespace gradus::vicreg
