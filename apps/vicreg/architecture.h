// The architecture of a model, nn::VICRegModel::Options: its options, and how files describe it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include <gradus/nn/vicreg_model.h>

namespace CLI {
class App;
}  // namespace CLI

namespace gradus::vicreg {

/// Adds the options that decide the encoder's shape; their defaults are what `options` holds, which
/// receives what is given.
void add_encoder_options(CLI::App& app, nn::ResNet::Options& options);

/// "resnet18" or "resnet34", by the blocks of the stages; throws Error for others.
std::string architecture_name(const nn::ResNet::Options& options);

/// As checkpoints and exported files hold it, and back; throws nlohmann::json::exception or Error
/// if that is no architecture.
nlohmann::json to_json(const nn::VICRegModel::Options& options);
nn::VICRegModel::Options model_options_from_json(const nlohmann::json& json);

}  // namespace gradus::vicreg
