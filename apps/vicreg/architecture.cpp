#include "vicreg/architecture.h"

#include <nlohmann/json.hpp>

#include "common/choice.h"
#include "common/command_line.h"

namespace gradus::vicreg {
namespace {

/// By the blocks of the four stages.
using Layers = std::array<std::int64_t, 4>;
constexpr apps::Choices<Layers, 2> architectures{
    {{Layers{2, 2, 2, 2}, "resnet18"}, {Layers{3, 4, 6, 3}, "resnet34"}}};

constexpr apps::Choices<nn::Stem, 2> stems{
    {{nn::Stem::cifar, "cifar", "3x3, stride 1"},
     {nn::Stem::imagenet, "imagenet", "7x7, stride 2, max-pool"}}};

}  // namespace

void add_encoder_options(CLI::App& app, nn::ResNet::Options& o) {
  apps::add_choice(app, "--arch", o.layers, architectures);
  apps::add_integer(app, "--width", o.width,
                    "Channels of the first stage; the last has eight times as many", 1, 4096);
  apps::add_choice(app, "--stem", o.stem, stems);
  apps::add_integer(app, "--stem-padding", o.stem_padding, "Padding of the cifar stem", 0, 2);
  apps::add_switch(app, "--stem-bias,!--no-stem-bias", o.stem_bias,
                   "A bias in the stem's convolution");
  apps::add_integer(app, "--fc-features", o.fc_features,
                    "Outputs of a linear layer at the encoder's end; 0: none", 0, 1 << 20);
}

std::string architecture_name(const nn::ResNet::Options& o) {
  return apps::name_of(architectures, o.layers);
}

nlohmann::json to_json(const nn::VICRegModel::Options& o) {
  return {{"architecture", architecture_name(o.encoder)},
          {"width", o.encoder.width},
          {"stem", apps::name_of(stems, o.encoder.stem)},
          {"stem-padding", o.encoder.stem_padding},
          {"stem-bias", o.encoder.stem_bias},
          {"fc-features", o.encoder.fc_features},
          {"zero-init-residual", o.encoder.zero_init_residual},
          {"projector", o.projector_widths}};
}

nn::VICRegModel::Options model_options_from_json(const nlohmann::json& json) {
  nn::VICRegModel::Options o;
  o.encoder.layers =
      apps::choice(architectures, "architecture", json.at("architecture").get<std::string>());
  json.at("width").get_to(o.encoder.width);
  o.encoder.stem = apps::choice(stems, "stem", json.at("stem").get<std::string>());
  json.at("stem-padding").get_to(o.encoder.stem_padding);
  json.at("stem-bias").get_to(o.encoder.stem_bias);
  json.at("fc-features").get_to(o.encoder.fc_features);
  json.at("zero-init-residual").get_to(o.encoder.zero_init_residual);
  json.at("projector").get_to(o.projector_widths);
  return o;
}

}  // namespace gradus::vicreg
