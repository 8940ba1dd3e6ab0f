#include "vicreg/weights.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include <gradus/tensor/check.h>
#include <gradus/tensor/io/pytorch.h>
#include "vicreg/architecture.h"

namespace gradus::vicreg {
namespace {

/// The file with the names of the state_dict that it is or has.
TensorFile read_weights(const std::filesystem::path& path) {
  TensorFile file = read_tensors(path);
  for (const std::string_view prefix : {"model_state_dict.", "state_dict."}) {
    const nn::StateDict weights = without_prefix(file.tensors, prefix);
    if (!weights.empty()) return {.tensors = weights, .metadata = file.metadata};
  }
  return file;
}

/// Tensors of a file that belong to the model, whatever else the file holds.
nn::StateDict model_tensors(const TensorFile& file) {
  nn::StateDict state;
  for (const auto& [name, tensor] : file.tensors)
    if (name.starts_with("encoder.") || name.starts_with("projector.")) state.emplace(name, tensor);
  return state;
}

/// Tensors of the encoder with bare names; a file without the prefix is an encoder itself.
nn::StateDict encoder_tensors(const std::filesystem::path& path, const TensorFile& file) {
  nn::StateDict state = without_prefix(file.tensors, "encoder.");
  if (state.empty()) state = file.tensors;
  check(state.contains("conv1.weight") && state.at("conv1.weight").rank() == 4, "load",
        "{} holds no ResNet encoder: there is no conv1.weight or encoder.conv1.weight",
        path.string());
  return state;
}

/// The architecture that a state's names and shapes show.
nn::ResNet::Options infer_architecture(const nn::StateDict& state) {
  const bool is34 = state.contains("layer3.5.conv1.weight");
  check(
      is34 || (state.contains("layer3.1.conv1.weight") && !state.contains("layer3.2.conv1.weight")),
      "load", "it is neither a ResNet-18 nor a ResNet-34");
  nn::ResNet::Options options = is34 ? nn::resnet34() : nn::resnet18();
  options.width = state.at("conv1.weight").size(0);
  options.stem = state.at("conv1.weight").size(2) == 7 ? nn::Stem::imagenet : nn::Stem::cifar;
  options.stem_bias = state.contains("conv1.bias");
  options.stem_padding = options.stem_bias ? 0 : 1;
  if (const auto fc = state.find("fc.weight"); fc != state.end())
    options.fc_features = fc->second.size(0);
  return options;
}

/// The widths of the projector that a file's tensors show; none without a projector.
std::vector<std::int64_t> infer_projector(const TensorFile& file) {
  constexpr int modules_a_layer = 3;  // Linear, BatchNorm, ReLU
  std::vector<std::int64_t> widths;
  for (int module = 0;; module += modules_a_layer) {
    const auto weight = file.tensors.find(fmt::format("projector.network.{}.weight", module));
    if (weight == file.tensors.end()) return widths;
    check(weight->second.rank() == 2, "load", "{} has shape {}, not that of a linear layer",
          weight->first, weight->second.shape());
    widths.push_back(weight->second.size(0));
  }
}

/// The architecture that a file names, if it does.
std::optional<nn::VICRegModel::Options> named_architecture(const TensorFile& file) {
  const auto named = file.metadata.find(model_key);
  if (named == file.metadata.end()) return std::nullopt;
  try {
    return model_options_from_json(nlohmann::json::parse(named->second));
  } catch (const nlohmann::json::exception& error) {
    fail("load", "the architecture in its metadata cannot be read: {}", error.what());
  }
}

/// The architecture that a file names, or else shows.
nn::VICRegModel::Options architecture(const TensorFile& file, const nn::StateDict& state) {
  const auto named = named_architecture(file);
  if (!named)
    return {.encoder = infer_architecture(state), .projector_widths = infer_projector(file)};
  const std::int64_t width = state.at("conv1.weight").size(0);
  check(named->encoder.width == width, "load",
        "its metadata name width {}, but conv1.weight has {}", named->encoder.width, width);
  return *named;
}

/// The projector that the architecture names, if the file has its tensors.
std::unique_ptr<nn::Projector> load_projector(const TensorFile& file,
                                              const nn::VICRegModel::Options& options,
                                              const nn::ResNet& encoder) {
  const nn::StateDict state = without_prefix(file.tensors, "projector.");
  if (options.projector_widths.empty() || state.empty()) return nullptr;
  Generator generator(0);
  auto projector =
      std::make_unique<nn::Projector>(nn::Projector::Options{.in_features = encoder.feature_count(),
                                                             .widths = options.projector_widths},
                                      generator);
  nn::load_state_dict(*projector, state);
  return projector;
}

/// What a file says that it was trained on, if it does.
void read_training_data(const TensorFile& file, LoadedEncoder& loaded) {
  if (const auto step = file.metadata.find(step_key); step != file.metadata.end())
    loaded.step = std::strtoll(step->second.c_str(), nullptr, 10);
  const auto named = file.metadata.find(options_key);
  if (named == file.metadata.end()) return;
  try {
    const nlohmann::json options = nlohmann::json::parse(named->second);
    loaded.views = view_options_from_json(options);
    loaded.image_size = options.value("image-size", std::int64_t{0});
    loaded.images = image_facts_from_json(options);
    data::validate(loaded.images.normalization, 3);
  } catch (const nlohmann::json::exception& error) {
    fail("load", "the options in its metadata cannot be read: {}", error.what());
  }
}

}  // namespace

nn::StateDict without_prefix(const nn::StateDict& state, std::string_view prefix) {
  nn::StateDict tensors;
  for (const auto& [name, tensor] : state)
    if (name.starts_with(prefix)) tensors.emplace(name.substr(prefix.size()), tensor);
  return tensors;
}

void add_with_prefix(nn::StateDict& state, std::string_view prefix, const nn::StateDict& tensors) {
  for (const auto& [name, tensor] : tensors)
    state.emplace(fmt::format("{}{}", prefix, name), tensor);
}

nn::VICRegModel::Options read_architecture(const std::filesystem::path& path) {
  const TensorFile file = read_weights(path);
  return architecture(file, encoder_tensors(path, file));
}

void export_weights(const std::filesystem::path& path, nn::VICRegModel& model,
                    const TrainOptions& options) {
  write_safetensors(path, {.tensors = nn::state_dict(model),
                           .metadata = {{"format", "pt"},
                                        {model_key, to_json(options.model).dump()},
                                        {options_key, identity(options).dump()}}});
}

void load_weights(const std::filesystem::path& path, nn::VICRegModel& model) {
  const TensorFile file = read_weights(path);
  try {
    nn::load_state_dict(model, model_tensors(file));
    // The one part of the architecture that changes the features and no tensor's shape.
    const nn::ResNet::Options& encoder = model.encoder.options();
    if (const auto named = named_architecture(file); named && encoder.stem == nn::Stem::cifar)
      check(named->encoder.stem_padding == encoder.stem_padding, "load",
            "its stem has padding {}, the model's {}; give --stem-padding {}",
            named->encoder.stem_padding, encoder.stem_padding, named->encoder.stem_padding);
  } catch (const Error& error) {
    fail("load", "{} does not fit the model: {}", path.string(), error.message());
  }
}

LoadedEncoder load_encoder(const std::filesystem::path& path,
                           std::optional<std::int64_t> stem_padding) {
  const TensorFile file = read_weights(path);
  const nn::StateDict state = encoder_tensors(path, file);
  LoadedEncoder loaded;
  try {
    loaded.options = architecture(file, state);
    if (stem_padding) loaded.options.encoder.stem_padding = *stem_padding;
    Generator generator(0);
    loaded.encoder = std::make_unique<nn::ResNet>(loaded.options.encoder, generator);
    nn::load_state_dict(*loaded.encoder, state);
    loaded.projector = load_projector(file, loaded.options, *loaded.encoder);
    read_training_data(file, loaded);
  } catch (const Error& error) {
    fail("load", "{} holds no encoder that can be used: {}", path.string(), error.message());
  }
  return loaded;
}

LoadedEncoder untrained_encoder(const nn::VICRegModel::Options& options, std::uint64_t seed) {
  Generator generator(seed);
  LoadedEncoder initial{.options = options};
  initial.encoder = std::make_unique<nn::ResNet>(options.encoder, generator);
  initial.projector = std::make_unique<nn::Projector>(
      nn::Projector::Options{.in_features = initial.encoder->feature_count(),
                             .widths = options.projector_widths},
      generator);
  return initial;
}

}  // namespace gradus::vicreg
