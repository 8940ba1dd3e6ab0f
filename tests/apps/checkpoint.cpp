// Checkpoints: what comes back, and what each kind of wrong file is told.
#include "vicreg/checkpoint.h"

#include <doctest/doctest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include <gradus/tensor/io/file.h>
#include <gradus/tensor/io/safetensors.h>
#include "tests/apps/small_model.h"
#include "tests/support/command.h"
#include "tests/support/errors.h"
#include "tests/support/temp_folder.h"
#include "vicreg/weights.h"

namespace {

using namespace gradus;
using namespace gradus::test;
using vicreg::load_checkpoint;
using vicreg::save_checkpoint;

/// A checkpoint after two steps, in a folder of its own.
struct Saved {
  Saved() {
    run.step();
    run.step();
    run.model.buffers().front().tensor->fill(0.25);
    save_checkpoint(path, run.model, *run.optimizer, 2, run.options);
  }
  std::int64_t load_into(SmallRun& other) const {
    return load_checkpoint(path, other.model, *other.optimizer, other.options);
  }
  std::string error(SmallRun& other) const {
    return error_of([&] { load_into(other); });
  }

  TempFolder folder;
  std::filesystem::path path = folder / "checkpoint.safetensors";
  SmallRun run;
};

/// The state of everything that a checkpoint restores.
std::map<std::string, Tensor> everything(SmallRun& run) {
  std::map<std::string, Tensor> all = nn::state_dict(run.model);
  for (const auto& [name, tensor] : run.optimizer->state())
    all["optimizer." + name] = tensor.clone();
  return all;
}

/// A model that draws random numbers.
struct Drawing : nn::VICRegModel {
  Drawing(Generator& initial, std::uint64_t position)
      : VICRegModel(small_options().model, initial), noise(initial.split()) {
    register_generator("noise", noise);
    noise.set_position(position);
  }
  Generator noise;
};

}  // namespace

TEST_CASE("a checkpoint restores the positions of a model's generators") {
  const TempFolder folder;
  const std::filesystem::path path = folder / "checkpoint.safetensors";
  vicreg::TrainOptions options = small_options();
  Generator generator(3);
  Drawing saved(generator, 1234), loaded(generator, 5);
  save_checkpoint(path, saved, *vicreg::make_optimizer(options, saved.parameters()), 0, options);
  load_checkpoint(path, loaded, *vicreg::make_optimizer(options, loaded.parameters()), options);
  CHECK(loaded.noise.position() == 1234);
}

TEST_CASE("a checkpoint restores weights, buffers, optimiser and step") {
  for (const auto& optimizer : vicreg::optimizer_names) {
    CAPTURE(optimizer.name);
    vicreg::TrainOptions options = small_options();
    options.optimizer = optimizer.value;
    SmallRun run(options);
    run.step();
    run.step();
    const TempFolder folder;
    save_checkpoint(folder / "file", run.model, *run.optimizer, 12345678901, options);

    SmallRun other(options, 7);
    CHECK_FALSE(same_tensors(nn::state_dict(other.model), nn::state_dict(run.model)));
    CHECK(load_checkpoint(folder / "file", other.model, *other.optimizer, options) == 12345678901);
    CHECK(same_tensors(everything(other), everything(run)));
    run.step();
    other.step();
    CHECK(same_tensors(everything(other), everything(run)));
    CHECK(count_files(folder.path()) == 1);
  }
}

TEST_CASE("batch norm's buffers come back") {
  const Saved saved;
  SmallRun other;
  CHECK(saved.load_into(other) == 2);
  const nn::NamedTensor buffer = other.model.buffers().front();
  CHECK(buffer.name == "encoder.bn1.running_mean");
  CHECK(buffer.tensor->to_vector<float>() == std::vector<float>{0.25f, 0.25f});
}

TEST_CASE("saving twice gives the same bytes") {
  Saved saved;
  const std::string first = read_text(saved.path);
  save_checkpoint(saved.path, saved.run.model, *saved.run.optimizer, 2, saved.run.options);
  CHECK(read_text(saved.path) == first);
}

TEST_CASE("a truncated checkpoint is refused, and the model stays as it was") {
  const Saved saved;
  const std::string bytes = read_text(saved.path);
  SmallRun other;
  const auto before = everything(other);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{7}, std::size_t{8},
                                 std::size_t{100}, bytes.size() / 2, bytes.size() - 1}) {
    CAPTURE(size);
    write_text(saved.path, bytes.substr(0, size));
    const std::string error = saved.error(other);
    CHECK(contains(error, saved.path.string()));
    CHECK((contains(error, "truncated") || contains(error, "empty")));
  }
  write_text(saved.path, bytes + "x");
  CHECK(saved.error(other) != "");
  CHECK(same_tensors(everything(other), before));
}

TEST_CASE("a flipped bit anywhere is noticed") {
  const Saved saved;
  const std::string bytes = read_text(saved.path);
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  SmallRun other;
  const auto before = everything(other);
  std::vector<std::size_t> places{0, 1, 7, 8, 9, 8 + header - 1, 8 + header, bytes.size() - 1};
  for (std::size_t at = 10; at < bytes.size(); at += bytes.size() / 211) places.push_back(at);
  for (const std::size_t at : places) {
    CAPTURE(at);
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << (at % 8)));
    write_text(saved.path, damaged);
    CHECK(contains(saved.error(other), saved.path.string()));
  }
  CHECK(same_tensors(everything(other), before));
}

TEST_CASE("a header length of 2^60 allocates nothing") {
  const Saved saved;
  std::string bytes = read_text(saved.path);
  const std::uint64_t length = std::uint64_t{1} << 60;
  std::memcpy(bytes.data(), &length, sizeof length);
  write_text(saved.path, bytes);
  SmallRun other;
  CHECK(contains(saved.error(other), "limit"));
}

TEST_CASE("a run with other options is refused with the option and both values") {
  const Saved saved;
  const auto error = [&](const std::function<void(vicreg::TrainOptions&)>& change) {
    vicreg::TrainOptions options = small_options();
    change(options);
    SmallRun other(options);
    return saved.error(other);
  };
  CHECK(contains(error([](auto& o) { o.lr = 0.5; }), "lr = 0.0002, this run has 0.5"));
  CHECK(contains(error([](auto& o) { o.batch_size = 64; }), "batch-size = 256, this run has 64"));
  CHECK(contains(error([](auto& o) { o.optimizer = vicreg::OptimizerName::sgd; }),
                 "optimizer = \"adam\", this run has \"sgd\""));
  CHECK(contains(error([](auto& o) { o.seed = 1; }), "seed = 0, this run has 1"));
  CHECK(contains(error([](auto& o) { o.model.encoder.width = 4; }), "width = 2, this run has 4"));
  CHECK(contains(error([](auto& o) { o.model.encoder.layers = nn::resnet34().layers; }),
                 "architecture = \"resnet18\", this run has \"resnet34\""));
  CHECK(contains(error([](auto& o) { o.model.projector_widths = {4}; }), "projector = [4,3]"));
  CHECK(contains(error([](auto& o) { o.views.count = 3; }), "views = 2, this run has 3"));
  CHECK(contains(error([](auto& o) { o.views.size = 16; }), "view-size = 0, this run has 16"));
  CHECK(contains(error([](auto& o) { o.views.crop_scale[0] = 0.5; }), "crop-scale = [0.2,1.0]"));
  CHECK(contains(error([](auto& o) { o.loss = vicreg::LossName::coding_rate; }),
                 "loss = \"vicreg\", this run has \"coding-rate\""));
  CHECK(
      contains(error([](auto& o) { o.coding_rate.eps = 1; }), "distortion = 0.2, this run has 1"));
  // What decides nothing may differ.
  CHECK(error([](auto& o) {
          o.workers = 9;
          o.steps = 77;
          o.epochs = 3;  // the schedule is constant
          o.out = "elsewhere";
          o.checkpoint_every = 5;
        }) == "");
}

TEST_CASE("a checkpoint from before an option was there goes on with the option's default") {
  const Saved saved;
  TensorFile file = read_safetensors(saved.path);
  nlohmann::json options = nlohmann::json::parse(file.metadata.at("gradus.options"));
  for (const char* name : {"views", "crop-scale", "crop-ratio", "view-size", "loss", "similarity",
                           "distortion", "nesterov"})
    REQUIRE(options.erase(name) == 1);
  options["model"].erase("stem-bias");
  file.metadata["gradus.options"] = options.dump();
  write_safetensors(saved.path, file);
  SmallRun other;
  CHECK(saved.load_into(other) == 2);
  vicreg::TrainOptions changed = small_options();
  changed.views.count = 3;
  SmallRun refused(changed);
  CHECK(contains(saved.error(refused), "views = 2, this run has 3"));
}

TEST_CASE("files that are no checkpoints") {
  const Saved saved;
  SmallRun run;
  vicreg::export_weights(saved.path, run.model, run.options);
  CHECK(contains(saved.error(run), "is not a checkpoint"));
  CHECK(contains(saved.error(run), "--init"));
  write_text(saved.path, "just some text, longer than a header length");
  CHECK(contains(saved.error(run), saved.path.string()));
  std::filesystem::remove(saved.path);
  CHECK(contains(saved.error(run), "no such file"));
  std::filesystem::create_directory(saved.path);
  CHECK(contains(saved.error(run), "not a regular file"));
}

TEST_CASE("a checkpoint whose metadata make no sense") {
  const Saved saved;
  const auto error = [&](const std::string& key, const std::string& value) {
    TensorFile file = read_safetensors(saved.path);
    file.metadata[key] = value;
    const std::filesystem::path changed = saved.folder / "changed";
    write_safetensors(changed, file);
    SmallRun other;
    return error_of(
        [&] { load_checkpoint(changed, other.model, *other.optimizer, other.options); });
  };
  CHECK(contains(error("gradus.checkpoint", "99"), "format 99"));
  CHECK(contains(error("gradus.options", "{\"lr\":"), "cannot be read"));
  for (const char* step : {"-1", "", "1.5", "99999999999999999999", "5x"})
    CHECK(contains(error("gradus.step", step), "is not a number"));
}

TEST_CASE("a checkpoint that lacks a tensor, or has one too many") {
  const Saved saved;
  const auto error = [&](const std::function<void(TensorFile&)>& change) {
    TensorFile file = read_safetensors(saved.path);
    change(file);
    const std::filesystem::path changed = saved.folder / "changed";
    write_safetensors(changed, file);
    SmallRun other;
    return error_of(
        [&] { load_checkpoint(changed, other.model, *other.optimizer, other.options); });
  };
  CHECK(contains(error([](auto& f) { f.tensors.erase("encoder.conv1.weight"); }),
                 "encoder.conv1.weight"));
  CHECK(contains(error([](auto& f) { f.tensors["stray"] = zeros({1}); }), "stray"));
  CHECK(contains(error([](auto& f) { f.tensors["encoder.bn1.bias"] = zeros({9}); }),
                 "encoder.bn1.bias"));
  CHECK(contains(error([](auto& f) { f.tensors.erase("optimizer.exp_avg.encoder.conv1.weight"); }),
                 "exp_avg.encoder.conv1.weight"));
  CHECK(
      contains(error([](auto& f) { f.tensors["optimizer.exp_avg.encoder.bn1.bias"] = zeros({9}); }),
               "exp_avg.encoder.bn1.bias"));
}

TEST_CASE("weights that are not finite are not saved") {
  Saved saved;
  const std::string before = read_text(saved.path);
  saved.run.model.encoder.bn1.weight.value().fill(NAN);
  CHECK_ERROR(
      save_checkpoint(saved.path, saved.run.model, *saved.run.optimizer, 3, saved.run.options),
      "after step 3 the weight encoder.bn1.weight is not finite; the checkpoint before it was "
      "kept; a lower --lr or --clip-norm may help");
  CHECK(read_text(saved.path) == before);
}
