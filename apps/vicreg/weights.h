// Files of weights: exporting a model, and finding an encoder in a file.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>

#include <gradus/nn/state_dict.h>
#include <gradus/nn/vicreg_model.h>
#include <gradus/tensor/io/safetensors.h>
#include "vicreg/options.h"

namespace gradus::vicreg {

/// Keys of the metadata that hold the architecture (architecture.h), the run's identity
/// (options.h), and the steps that a checkpoint had.
inline constexpr const char* model_key = "gradus.model";
inline constexpr const char* options_key = "gradus.options";
inline constexpr const char* step_key = "gradus.step";

/// The tensors whose names begin with `prefix`, by the rest of their names.
nn::StateDict without_prefix(const nn::StateDict& state, std::string_view prefix);
/// Adds `tensors` to a state, with `prefix` before their names.
void add_with_prefix(nn::StateDict& state, std::string_view prefix, const nn::StateDict& tensors);

/// Writes the weights and buffers alone, with PyTorch's names and layouts (`encoder.*`,
/// `projector.network.*`), and in the metadata the architecture and the options' identity.
void export_weights(const std::filesystem::path& path, nn::VICRegModel& model,
                    const TrainOptions& options);

// Files of weights are checkpoints, exported files, and state_dicts of PyTorch, as safetensors or
// by torch.save: there by themselves, or as `model_state_dict` or `state_dict` in a dict.

/// Loads all weights of a file that holds the same architecture, or throws Error; what else the
/// file holds (an optimiser's state) is passed over.
void load_weights(const std::filesystem::path& path, nn::VICRegModel& model);

/// An encoder with its projector, and what is known of them.
struct LoadedEncoder {
  std::unique_ptr<nn::ResNet> encoder{};
  std::unique_ptr<nn::Projector> projector{};  ///< null where the file has none
  nn::VICRegModel::Options options{};          ///< without a projector where the file has none
  ViewOptions views{};          ///< what it was trained on; the default where the file does not say
  std::int64_t image_size = 0;  ///< of DataOptions; 0 where the file does not say
  ImageFacts images{};          ///< what the file says of the images
  std::optional<std::int64_t> step{};  ///< of a checkpoint: the steps that it had
};

/// Reads the encoder, and the projector if there is one, of a file with names
/// `encoder.*`, `projector.*`, or an encoder's bare ones. The architecture is the one that the file
/// names; where it names none it is read off the tensors, but for the stem's padding, which is 0
/// with a biased stem and 1 otherwise unless `stem_padding` says.
LoadedEncoder load_encoder(const std::filesystem::path& path,
                           std::optional<std::int64_t> stem_padding = {});

/// The architecture that load_encoder finds.
nn::VICRegModel::Options read_architecture(const std::filesystem::path& path);

/// The encoder and the projector with their initial weights.
LoadedEncoder untrained_encoder(const nn::VICRegModel::Options& options, std::uint64_t seed);

}  // namespace gradus::vicreg
