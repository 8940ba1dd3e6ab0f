// Exported weights, and finding an encoder in files of several origins.
#include "vicreg/weights.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <set>

#include <gradus/tensor/io/file.h>
#include <gradus/tensor/io/safetensors.h>
#include "tests/apps/small_model.h"
#include "tests/support/command.h"
#include "tests/support/errors.h"
#include "tests/support/temp_folder.h"
#include "vicreg/architecture.h"
#include "vicreg/checkpoint.h"

namespace {

using namespace gradus;
using namespace gradus::test;
using vicreg::architecture_name;
using vicreg::load_encoder;
using vicreg::to_json;

void add_batch_norm(std::set<std::string>& keys, const std::string& name) {
  for (const char* part : {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"})
    keys.insert(name + "." + part);
}

/// The keys of PyTorch's ResNet-18 without fc, under "encoder.", spelt out from torchvision's.
std::set<std::string> pytorch_encoder_keys() {
  std::set<std::string> keys{"encoder.conv1.weight"};
  add_batch_norm(keys, "encoder.bn1");
  for (const std::string layer : {"1", "2", "3", "4"}) {
    for (const std::string block : {"0", "1"}) {
      const std::string name = "encoder.layer" + layer + "." + block;
      keys.insert(name + ".conv1.weight");
      keys.insert(name + ".conv2.weight");
      add_batch_norm(keys, name + ".bn1");
      add_batch_norm(keys, name + ".bn2");
    }
    if (layer == "1") continue;
    keys.insert("encoder.layer" + layer + ".0.downsample.0.weight");
    add_batch_norm(keys, "encoder.layer" + layer + ".0.downsample.1");
  }
  return keys;
}

std::set<std::string> keys_of(const TensorFile& file) {
  std::set<std::string> keys;
  for (const auto& [name, tensor] : file.tensors) keys.insert(name);
  return keys;
}

/// A file as another program writes it: tensors alone, each name after `prefix`.
void write_foreign(const std::filesystem::path& path, nn::Module& module,
                   const std::string& prefix = "") {
  write_safetensors(path, {.tensors = nn::state_dict(module, prefix)});
}

nn::ResNet make_encoder(const nn::ResNet::Options& options, std::uint64_t seed) {
  Generator generator(seed);
  return nn::ResNet(options, generator);
}

}  // namespace

TEST_CASE("an exported file has PyTorch's keys and layouts") {
  const TempFolder folder;
  SmallRun run;
  vicreg::export_weights(folder / "file", run.model, run.options);
  const TensorFile file = read_safetensors(folder / "file");

  std::set<std::string> expected = pytorch_encoder_keys();
  for (const char* linear : {"0", "3"}) {
    expected.insert("projector.network." + std::string(linear) + ".weight");
    expected.insert("projector.network." + std::string(linear) + ".bias");
  }
  add_batch_norm(expected, "projector.network.1");
  CHECK(keys_of(file) == expected);

  CHECK(file.metadata.at("format") == "pt");
  CHECK(file.tensors.at("encoder.conv1.weight").shape() == Shape{2, 3, 3, 3});
  CHECK(file.tensors.at("encoder.layer2.0.conv1.weight").shape() == Shape{4, 2, 3, 3});
  CHECK(file.tensors.at("encoder.layer2.0.downsample.0.weight").shape() == Shape{4, 2, 1, 1});
  CHECK(file.tensors.at("projector.network.0.weight").shape() == Shape{4, 16});
  CHECK(file.tensors.at("encoder.bn1.num_batches_tracked").dtype() == DType::int64);
  CHECK(file.tensors.at("encoder.bn1.num_batches_tracked").shape() == Shape{});
  // Ours [O, kH, kW, I] against PyTorch's [O, I, kH, kW].
  const Tensor& ours = run.model.encoder.layer2[0].state().front().tensor[0];
  const auto theirs = file.tensors.at("encoder.layer2.0.conv1.weight").to_vector<float>();
  const auto values = ours.to_vector<float>();
  for (std::size_t o = 0; o < 4; ++o)
    for (std::size_t k = 0; k < 9; ++k)
      for (std::size_t i = 0; i < 2; ++i)
        REQUIRE(values[(o * 9 + k) * 2 + i] == theirs[(o * 2 + i) * 9 + k]);
}

TEST_CASE("load_weights takes exported files and checkpoints") {
  const TempFolder folder;
  SmallRun run;
  run.step();
  vicreg::export_weights(folder / "exported", run.model, run.options);
  vicreg::save_checkpoint(folder / "checkpoint", run.model, *run.optimizer, 1, run.options);
  for (const char* name : {"exported", "checkpoint"}) {
    SmallRun other(small_options(), 5);
    vicreg::load_weights(folder / name, other.model);
    CHECK(same_tensors(nn::state_dict(other.model), nn::state_dict(run.model)));
  }
  vicreg::TrainOptions wide = small_options();
  wide.model.encoder.width = 3;
  SmallRun other(wide);
  const auto before = nn::state_dict(other.model);
  const std::string error =
      error_of([&] { vicreg::load_weights(folder / "exported", other.model); });
  CHECK(contains(error, (folder / "exported").string() + " does not fit the model"));
  CHECK(contains(error, "encoder.conv1.weight"));
  CHECK(same_tensors(nn::state_dict(other.model), before));
  const std::string missing = error_of([&] { vicreg::load_weights(folder / "none", other.model); });
  CHECK(contains(missing, "no such file"));
  CHECK_FALSE(contains(missing, "does not fit"));
}

TEST_CASE("load_weights compares the padding of the stem where it matters") {
  const TempFolder folder;
  for (const nn::Stem stem : {nn::Stem::cifar, nn::Stem::imagenet}) {
    vicreg::TrainOptions options = small_options();
    options.model.encoder.stem = stem;
    SmallRun run(options);
    vicreg::export_weights(folder / "exported", run.model, options);
    options.model.encoder.stem_padding = 2;
    SmallRun other(options, 5);
    const auto load = [&] { vicreg::load_weights(folder / "exported", other.model); };
    if (stem == nn::Stem::cifar) {
      CHECK(contains(error_of(load), "padding 1, the model's 2; give --stem-padding 1"));
    } else {
      CHECK_NOTHROW(load());
    }
  }
}

TEST_CASE("load_encoder takes the architecture from a checkpoint or an exported file") {
  const TempFolder folder;
  vicreg::TrainOptions options = small_options();
  options.model.encoder.stem_padding = 2;
  options.views = {.count = 5, .crop_scale = {0.25, 0.5}, .size = 16};
  SmallRun run(options);
  vicreg::export_weights(folder / "exported", run.model, options);
  vicreg::save_checkpoint(folder / "checkpoint", run.model, *run.optimizer, 1, options);
  for (const char* name : {"exported", "checkpoint"}) {
    const vicreg::LoadedEncoder loaded = load_encoder(folder / name);
    CHECK(loaded.options.encoder.stem_padding == 2);
    CHECK(loaded.options.encoder.width == 2);
    CHECK(same_tensors(nn::state_dict(*loaded.encoder), nn::state_dict(run.model.encoder)));
    REQUIRE(loaded.projector != nullptr);
    CHECK(same_tensors(nn::state_dict(*loaded.projector), nn::state_dict(run.model.projector)));
    CHECK(to_json(loaded.views) == to_json(options.views));
  }
  CHECK(load_encoder(folder / "exported", 0).options.encoder.stem_padding == 0);
}

TEST_CASE("load_encoder infers the architecture of a PyTorch state_dict") {
  const TempFolder folder;
  struct Case {
    nn::ResNet::Options model;
    std::int64_t expected_padding;
  };
  const std::vector<Case> cases{
      {{.width = 2}, 1},
      {{.layers = nn::resnet34().layers, .width = 2}, 1},
      {{.width = 2, .stem_bias = true, .fc_features = 5}, 0},
      {{.width = 2, .stem = nn::Stem::imagenet, .fc_features = 7}, 1},
  };
  for (const auto& [model, padding] : cases) {
    nn::ResNet encoder = make_encoder(model, 3);
    for (const std::string prefix : {"", "encoder"}) {
      CAPTURE(prefix);
      CAPTURE(architecture_name(model));
      write_foreign(folder / "file", encoder, prefix);
      const vicreg::LoadedEncoder loaded = load_encoder(folder / "file");
      CHECK(loaded.options.encoder.layers == model.layers);
      CHECK(loaded.options.encoder.width == 2);
      CHECK(loaded.options.encoder.stem == model.stem);
      CHECK(loaded.options.encoder.stem_bias == model.stem_bias);
      CHECK(loaded.options.encoder.fc_features == model.fc_features);
      CHECK(loaded.options.encoder.stem_padding == padding);
      CHECK(loaded.projector == nullptr);
      CHECK(to_json(loaded.views) == to_json(vicreg::ViewOptions()));
      CHECK(same_tensors(nn::state_dict(*loaded.encoder), nn::state_dict(encoder)));
    }
  }
}

TEST_CASE("weights of an old PyTorch, without num_batches_tracked, are taken") {
  const TempFolder folder;
  SmallRun run;
  run.step();
  nn::StateDict old;
  for (const auto& [name, tensor] : nn::state_dict(run.model))
    if (!name.ends_with("num_batches_tracked")) old.emplace(name, tensor);
  write_safetensors(folder / "file", {.tensors = old});
  CHECK(same_tensors(nn::state_dict(*load_encoder(folder / "file").encoder),
                     nn::state_dict(run.model.encoder)));
  SmallRun other(small_options(), 5);
  vicreg::load_weights(folder / "file", other.model);
  CHECK(same_tensors(nn::state_dict(other.model), nn::state_dict(run.model)));
}

TEST_CASE("load_encoder refuses what holds no encoder") {
  const TempFolder folder;
  const auto error = [&](const TensorFile& file) {
    write_safetensors(folder / "file", file);
    return error_of([&] { load_encoder(folder / "file"); });
  };
  CHECK(contains(error({}), "holds no ResNet encoder"));
  CHECK(contains(error({.tensors = {{"weight", zeros({2, 2})}}}), "holds no ResNet encoder"));
  CHECK(contains(error({.tensors = {{"conv1.weight", zeros({2, 2})}}}), "holds no ResNet encoder"));
  CHECK(contains(error({.tensors = {{"conv1.weight", zeros({2, 3, 3, 3})}}}),
                 "neither a ResNet-18 nor a ResNet-34"));

  nn::ResNet encoder = make_encoder({.width = 2}, 0);
  TensorFile lacking{.tensors = nn::state_dict(encoder)};
  lacking.tensors.erase("bn1.bias");
  CHECK(contains(error(lacking), "bn1.bias"));
  TensorFile empty_fc{.tensors = nn::state_dict(encoder)};
  empty_fc.tensors["fc.weight"] = Tensor(zeros({}));
  CHECK(contains(error(empty_fc), (folder / "file").string()));
  TensorFile no_channels{.tensors = nn::state_dict(encoder)};
  no_channels.tensors["conv1.weight"] = zeros({0, 3, 3, 3});
  CHECK(contains(error(no_channels), (folder / "file").string()));

  for (const std::string model : {"not JSON", "{}", "[]", "{\"architecture\":5}"}) {
    CAPTURE(model);
    CHECK(contains(
        error({.tensors = nn::state_dict(encoder), .metadata = {{vicreg::model_key, model}}}),
        "the architecture in its metadata cannot be read"));
  }
  nlohmann::json unknown = to_json(nn::VICRegModel::Options{});
  unknown["architecture"] = "resnet50";
  CHECK(contains(error({.tensors = nn::state_dict(encoder),
                        .metadata = {{vicreg::model_key, unknown.dump()}}}),
                 "architecture 'resnet50' is unknown; there are resnet18 or resnet34"));
  nn::VICRegModel::Options wide;
  wide.encoder.width = std::int64_t{1} << 40;
  CHECK(contains(error({.tensors = nn::state_dict(encoder),
                        .metadata = {{vicreg::model_key, to_json(wide).dump()}}}),
                 "conv1.weight has 2"));
  CHECK(contains(error_of([&] { load_encoder(folder / "missing"); }), "no such file"));
}

TEST_CASE("the untrained encoder is the one that training with the same seed starts from") {
  SmallRun run(small_options(), 11);
  const vicreg::LoadedEncoder loaded = vicreg::untrained_encoder(small_options().model, 11);
  CHECK(same_tensors(nn::state_dict(*loaded.encoder), nn::state_dict(run.model.encoder)));
  CHECK(same_tensors(nn::state_dict(*loaded.projector), nn::state_dict(run.model.projector)));
}
