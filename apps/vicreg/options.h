// The options of `train`: one struct, its command line, its configuration file.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include <gradus/nn/coding_rate_loss.h>
#include <gradus/nn/vicreg_loss.h>
#include <gradus/nn/vicreg_model.h>
#include "common/choice.h"
#include "common/compute.h"
#include "vicreg/datasets.h"
#include "vicreg/loss_terms.h"

namespace gradus::vicreg {

// The choices by name; what they stand for is in recipes.h.

/// Sets of defaults.
enum class Recipe : std::uint8_t { standard, solo_learn, emp_ssl, fast };
inline constexpr apps::Choices<Recipe, 4> recipes{
    {{Recipe::standard, "default", "Adam"},
     {Recipe::solo_learn, "solo-learn", "LARS, 92 % after 1,000 epochs as published"},
     {Recipe::emp_ssl, "emp-ssl", "20 views, LARS, 93 % after 30 epochs as published"},
     {Recipe::fast, "fast", "emp-ssl on crops of 16x16 pixels by Muon, for CPUs"}}};

/// What is done to crops.
enum class Augmentation : std::uint8_t { vicreg, solo_learn, emp_ssl, none };
inline constexpr apps::Choices<Augmentation, 4> augmentations{
    {{Augmentation::vicreg, "vicreg"},
     {Augmentation::solo_learn, "solo-learn"},
     {Augmentation::emp_ssl, "emp-ssl"},
     {Augmentation::none, "none", "every view is the image"}}};

/// The names of the losses (loss_terms.h).
inline constexpr apps::Choices<LossName, 2> loss_names{
    {{LossName::vicreg, "vicreg"}, {LossName::coding_rate, "coding-rate", "EMP-SSL's"}}};

/// The optimisers of optim/, LARS in both of its forms.
enum class OptimizerName : std::uint8_t { sgd, adam, adamw, lars, lars_vicreg, muon };
inline constexpr apps::Choices<OptimizerName, 6> optimizer_names{
    {{OptimizerName::sgd, "sgd"},
     {OptimizerName::adam, "adam"},
     {OptimizerName::adamw, "adamw"},
     {OptimizerName::lars, "lars", "solo-learn's form"},
     {OptimizerName::lars_vicreg, "lars-vicreg", "the paper's"},
     {OptimizerName::muon, "muon", "orthogonal steps of convolutions"}}};

/// Learning rates over a run.
enum class ScheduleName : std::uint8_t { constant, step, cosine, warmup_cosine, vicreg };
inline constexpr apps::Choices<ScheduleName, 5> schedule_names{
    {{ScheduleName::constant, "constant"},
     {ScheduleName::step, "step"},
     {ScheduleName::cosine, "cosine"},
     {ScheduleName::warmup_cosine, "warmup-cosine", "3e-5 to lr to 0"},
     {ScheduleName::vicreg, "vicreg", "0 to lr to lr / 1000"}}};

/// The views of an image that are compared.
struct ViewOptions {
  int count = 2;  ///< of each image, V
  Augmentation augment = Augmentation::vicreg;
  std::array<double, 2> crop_scale{0.2, 1};         ///< least and largest area, of the image's
  std::array<double, 2> crop_ratio{0.75, 4.0 / 3};  ///< least and largest width / height
  std::int64_t size = 0;                            ///< pixels a side; 0: the image's
};

/// What a checkpoint keeps of the images that were trained on.
struct ImageFacts {
  std::int64_t count = 0;  ///< 0: no images were loaded, or the file does not say
  data::Normalization normalization{};
};

/// Everything that `train` can be told. The defaults are those of the recipe `standard`.
struct TrainOptions {
  Recipe recipe = Recipe::standard;
  DataOptions data;
  ImageFacts images;  ///< no option: known once the data set is loaded
  nn::VICRegModel::Options model{.projector_widths = {1024, 1024, 1024, 1024}};

  ViewOptions views;
  bool shuffle = true;            ///< the images, anew each epoch
  bool drop_last = true;          ///< leave out a partial batch at the end of an epoch
  std::int64_t batch_size = 256;  ///< images a step, each in all its views
  std::int64_t epochs = 500;
  std::int64_t steps = -1;  ///< stop after so many steps; -1: when the epochs are done

  LossName loss = LossName::vicreg;
  nn::VICRegOptions vicreg;
  nn::CodingRateOptions coding_rate;
  bool separate_views = false;  ///< each view has its own batch statistics

  OptimizerName optimizer = OptimizerName::adam;
  double lr = 2e-4;
  bool scale_lr = false;  ///< multiply lr by batch_size / 256
  double weight_decay = 1e-6;
  double momentum = 0.9;  ///< of sgd, lars and muon
  bool nesterov = false;  ///< of sgd, lars and muon
  double trust = 0;       ///< of lars and muon; 0: the optimiser's own
  double clip_norm = 0;   ///< largest norm of the gradient; 0: no clipping
  bool decay_all = true;  ///< whether biases and norms decay (and, with lars and muon, adapt) too
  ScheduleName schedule = ScheduleName::constant;
  std::int64_t warmup_epochs = 10;
  std::vector<std::int64_t> milestones{60, 80};  ///< epochs of the schedule `step`

  apps::ComputeOptions compute;
  bool checkpoint_activations = false;  ///< see nn::ResNet
  int workers = 2;                      ///< threads that make batches
  int shards = 1;               ///< equal parts of each batch, each computed by a thread of its own
  bool unordered_sums = false;  ///< see Processes::allow_any_order
  std::uint64_t seed = 0;       ///< of the weights, the order and the augmentation
  std::string out = "runs/vicreg";    ///< the run folder
  std::string init;                   ///< a file of weights to start from; empty: none
  std::string continue_from;          ///< a PyTorch checkpoint to go on from; empty: none
  bool resume = false;                ///< go on from the run folder's checkpoint
  bool overwrite = false;             ///< discard what the run folder holds of a run
  std::int64_t checkpoint_every = 0;  ///< steps; 0: the end of every epoch
  std::int64_t knn_every = 0;         ///< epochs; 0: never
  std::int64_t knn_images = 5000;     ///< images of each split that kNN looks at, at most
  bool probe = false;                 ///< see OnlineProbe
  bool tensorboard = false;           ///< see TensorBoard
  bool dry_run = false;               ///< see Trainer::dry_run
  std::string export_file;            ///< for the weights alone, at the end; empty: none
};

/// So many epochs at most: their steps fit 64 bits.
inline constexpr std::int64_t most_epochs = std::int64_t{1} << 30;

/// The configuration's file in a run folder.
inline constexpr const char* config_name = "config.toml";

/// Reads the command line: defaults of the recipe, then the configuration file (--config; with
/// --resume the run's own config.toml unless another is named), then the command line.
/// `config` receives the resolved configuration as TOML. Returns false after printing the help.
/// Throws Error with one line that names the option at fault.
bool parse_train_options(int argc, const char* const* argv, TrainOptions& options,
                         std::string& config);

/// As a checkpoint's options hold them, and back, with the default of what these do not name;
/// throws nlohmann::json::exception or Error if they cannot be read.
nlohmann::json to_json(const ViewOptions& options);
ViewOptions view_options_from_json(const nlohmann::json& saved);

/// Of a checkpoint's options; nothing known where these name none. As view_options_from_json.
ImageFacts image_facts_from_json(const nlohmann::json& saved);

/// The options that decide what the weights become, by name, and the images' facts where these are
/// known. A checkpoint keeps them, and a resumed run must agree.
nlohmann::json identity(const TrainOptions& options);

}  // namespace gradus::vicreg
