// Files of weights: exporting a model, and finding an encoder in a file.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include <gradus/nn/state_dict.h>
#include <gradus/nn/vicreg_model.h>
#include <gradus/tensor/io/safetensors.h>

namespace gradus::vicreg {

/// Key of the metadata that holds the architecture (architecture.h).
inline constexpr const char* model_key = "gradus.model";

/// Writes the weights and buffers alone, with PyTorch's names and layouts:
/// `encoder.*`, `projector.network.*`.
void export_weights(const std::filesystem::path& path, nn::VICRegModel& model,
                    const nn::VICRegModel::Options& options);

/// Loads all weights of a file that holds the same architecture; what else the file holds (an
/// optimiser's state) is passed over.
void load_weights(const std::filesystem::path& path, nn::VICRegModel& model);

/// An encoder and where it came from.
struct LoadedEncoder {
  std::unique_ptr<nn::ResNet> encoder;
  nn::VICRegModel::Options options;  ///< without a projector where the file names none
};

/// Reads the encoder of a checkpoint, an exported file, or a PyTorch state_dict saved as
/// safetensors, with names `encoder.*` or bare. The architecture is the one that the file names;
/// where it names none it is read off the tensors, but for the stem's padding, which is 0 with a
/// biased stem and 1 otherwise unless `stem_padding` says.
LoadedEncoder load_encoder(const std::filesystem::path& path,
                           std::optional<std::int64_t> stem_padding = {});

/// The encoder with its initial weights.
LoadedEncoder untrained_encoder(const nn::VICRegModel::Options& options, std::uint64_t seed);

}  // namespace gradus::vicreg
