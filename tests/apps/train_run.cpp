// What a run leaves behind, and its options at work.
#include <doctest/doctest.h>
#include <fmt/ranges.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include <gradus/tensor/io/safetensors.h>
#include "tests/apps/programs.h"
#include "tests/support/near.h"
#include "vicreg/metrics.h"
#include "vicreg/run_report.h"

namespace {

using namespace gradus::test;
using gradus::read_safetensors;
using nlohmann::json;
namespace fs = std::filesystem;

CommandResult train_well(const fs::path& out, const Arguments& arguments) {
  CommandResult result = train_tiny(out, arguments);
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  return result;
}

std::vector<double> losses(const fs::path& out) {
  std::vector<double> values;
  for (const auto& record : gradus::vicreg::read_metrics(out / "metrics.jsonl").steps)
    values.push_back(record.loss.total);
  return values;
}

}  // namespace

TEST_CASE("the run folder holds the checkpoint, the metrics, the pictures and the options") {
  const TempFolder folder;
  const fs::path out = folder / "a" / "b" / "run";
  const CommandResult result =
      train_well(out, {"--epochs", "2", "--knn-every", "1", "--knn-images", "20"});
  CHECK(contains(result.output, "kNN"));
  CHECK(count_files(out) == 4);
  const json page = gradus::vicreg::read_page_run(out);
  CHECK(page.at("steps").at("loss").at("mean").size() == 6);
  CHECK(page.at("epoch_values").at("knn_accuracy").size() == 2);
  CHECK(page.at("training").at("machine").at("Threads") == 1);
  CHECK(page.at("config") == read_text(out / "config.toml"));
  CHECK(contains(read_text(out / "config.toml"), "batch-size=8"));
  CHECK(read_safetensors(out / "checkpoint.safetensors").metadata.at("gradus.step") == "6");

  const std::vector<std::string> lines = lines_of(read_text(out / "metrics.jsonl"));
  REQUIRE(lines.size() == 10);  // two epochs of three steps, and two lines each
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const json record = json::parse(lines[i]);
    const bool is_epoch = i % 5 >= 3, is_evaluation = i % 5 == 4;
    CHECK(record.at("epoch") == i / 5 + 1);
    CHECK(record.at("step") == i / 5 * 3 + (is_epoch ? 3 : i % 5 + 1));
    if (is_evaluation) {
      CHECK(record.size() == 3);
      CHECK(record.at("knn_accuracy") <= 1.0);
    } else if (is_epoch) {
      for (const char* key : {"std_mean", "std_min", "effective_rank"})
        CHECK(record.at(key).is_number());
      CHECK(record.at("embeddings") == 16);
      CHECK(record.at("effective_rank") >= 1.0);
      CHECK(record.at("effective_rank") <= 16.001);
    } else {
      for (const char* key : {"lr", "loss", "invariance", "variance", "covariance",
                              "images_per_second", "data_wait_seconds"})
        CHECK(record.at(key).is_number());
      CHECK(record.at("loss").get<double>() ==
            near(25 * record.at("invariance").get<double>() +
                 25 * record.at("variance").get<double>() + record.at("covariance").get<double>()));
    }
  }
}

TEST_CASE("the time that steps waited for data is a share of theirs") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  train_well(out, {"--steps", "4", "--workers", "0"});
  const auto metrics = gradus::vicreg::read_metrics(out / "metrics.jsonl");
  REQUIRE(metrics.steps.size() == 4);
  for (const auto& step : metrics.steps) {
    CAPTURE(step.step);
    constexpr double images = 8;
    CHECK(step.images == 8);
    const double step_seconds = images / step.images_per_second;
    CHECK(step.data_wait_seconds > 0);  // without workers each batch is made while the step waits
    CHECK(step.data_wait_share == near(step.data_wait_seconds / step_seconds));
    CHECK(step.data_wait_share < 1);
  }
}

TEST_CASE("a run from the saved configuration is the same run") {
  const TempFolder folder;
  for (const char* name : {"first", "second"}) fs::create_directory(folder / name);
  const auto train_in = [&](const char* name, const Arguments& arguments) {
    const CommandResult result = run_train(arguments, {.folder = folder / name});
    INFO("output: ", result.output);
    REQUIRE(result.exit_code == 0);
    return folder / name / "run";
  };
  const fs::path first = train_in(
      "first", tiny + Arguments{"--out", "run", "--recipe", "solo-learn", "--lr", "0.123456789",
                                "--steps", "4", "--bf16", "--seed", "18446744073709551615"});
  const fs::path second = train_in("second", {"--config", (first / "config.toml").string()});
  CHECK(read_text(second / "config.toml") == read_text(first / "config.toml"));
  CHECK(losses(second) == losses(first));
  CHECK(checkpoint_bytes(second) == checkpoint_bytes(first));
}

TEST_CASE("each epoch renews the report, and draws its views") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  train_well(out, {"--epochs", "1"});
  const json first = gradus::vicreg::read_page_run(out);
  train_well(out, {"--epochs", "2", "--resume"});
  const json second = gradus::vicreg::read_page_run(out);
  CHECK(second.at("steps").at("loss").at("mean").size() == 6);
  CHECK(second.at("training").at("pictures") != first.at("training").at("pictures"));
}

TEST_CASE("a run folder's checkpoint is not overwritten unasked") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  train_well(out, {"--steps", "2"});
  const std::string before = checkpoint_bytes(out);
  const std::string config = read_text(out / "config.toml");
  check_refused(train_tiny(out, {"--steps", "2", "--seed", "5"}),
                {out.string(), "--resume", "--out", "--overwrite"});
  CHECK(checkpoint_bytes(out) == before);
  CHECK(read_text(out / "config.toml") == config);
  train_well(out, {"--steps", "1", "--seed", "5", "--overwrite"});
  CHECK(checkpoint_bytes(out) != before);
  CHECK(losses(out).size() == 1);
  // The weights to start from may be those that are discarded.
  const std::string weights = out / "checkpoint.safetensors";
  train_well(folder / "elsewhere", {"--steps", "1", "--init", weights});
  train_well(out, {"--steps", "1", "--init", weights, "--overwrite"});
  CHECK(checkpoint_bytes(out) == checkpoint_bytes(folder / "elsewhere"));
  // What cannot be started from discards nothing.
  const std::string kept = checkpoint_bytes(out);
  check_refused(train_tiny(out, {"--init", folder / "none", "--overwrite"}), {"none"});
  check_refused(train_tiny(out, {"--overwrite", "--schedule", "step", "--milestones", "80,60"}),
                {"milestones must increase"});
  CHECK(checkpoint_bytes(out) == kept);
  CHECK(losses(out).size() == 1);
}

TEST_CASE("--steps 0 writes the initial weights, and needs no data set") {
  const TempFolder folder;
  const fs::path exported = folder / "initial.safetensors";
  const CommandResult result =
      run_train({"--steps", "0", "--width", "4", "--projector", "16,16", "--data", folder / "none",
                 "--out", folder / "run", "--export", exported.string()});
  INFO("output: ", result.output);
  CHECK(result.exit_code == 0);
  CHECK(read_safetensors(exported).tensors.contains("encoder.conv1.weight"));

  // A run that starts from them is the run that draws them itself: same options, same seed.
  train_well(folder / "drawn", {"--steps", "2"});
  train_well(folder / "read", {"--steps", "2", "--init", exported.string()});
  CHECK(checkpoint_bytes(folder / "read") == checkpoint_bytes(folder / "drawn"));
  train_well(folder / "other", {"--steps", "2", "--init", exported.string(), "--seed", "4"});
  CHECK(losses(folder / "other") != losses(folder / "drawn"));
}

TEST_CASE(
    "--export belongs to one call, and a file that cannot be is refused before the first step") {
  const TempFolder folder;
  const fs::path out = folder / "run", exported = folder / "weights.safetensors";
  train_well(out, {"--steps", "1", "--export", exported.string()});
  const std::string weights = read_text(exported), checkpoint = checkpoint_bytes(out);
  const CommandResult other =
      run_train({"--config", out / "config.toml", "--out", folder / "other", "--seed", "5"});
  INFO("output: ", other.output);
  REQUIRE(other.exit_code == 0);
  CHECK(read_text(exported) == weights);

  const auto refused = [&](const fs::path& path, const std::string& reason) {
    check_refused(train_tiny(out, {"--steps", "2", "--resume", "--export", path.string()}),
                  {"--export " + path.string(), reason});
    CHECK(checkpoint_bytes(out) == checkpoint);
    CHECK(losses(out).size() == 1);
  };
  refused(folder / "none" / "weights", "there is no folder " + (folder / "none").string());
  refused(folder.path(), "no regular file");
  refused(out / "checkpoint.safetensors", "would overwrite");
  refused(folder / "other" / ".." / "run" / "checkpoint.safetensors", "would overwrite");
  fs::create_directory(folder / "here");
  check_refused(run_train(tiny + Arguments{"--out", ".", "--export", "checkpoint.safetensors"},
                          {.folder = folder / "here"}),
                {"would overwrite"});

  // Nor does a call that only exports change what --config makes again.
  const std::string config = read_text(out / "config.toml");
  train_well(out, {"--resume", "--steps", "0", "--export", exported.string()});
  CHECK(read_text(out / "config.toml") == config);
  CHECK(checkpoint_bytes(out) == checkpoint);
}

TEST_CASE("--resume without a checkpoint says that it begins") {
  const TempFolder folder;
  const CommandResult begun = train_well(folder / "run", {"--resume", "--steps", "1"});
  CHECK(contains(begun.output, "no checkpoint in " + (folder / "run").string() + ": a new run"));
  const CommandResult resumed = train_well(folder / "run", {"--resume", "--steps", "2"});
  CHECK(contains(resumed.output, "resumed "));
  CHECK_FALSE(contains(resumed.output, "a new run"));
}

TEST_CASE("a report's command that exports makes no step") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  train_well(out, {"--steps", "1"});
  const std::string before = checkpoint_bytes(out);
  std::string command;
  const json page = gradus::vicreg::read_page_run(out);
  for (const json& entry : page.at("commands"))
    if (contains(entry.at("title").get<std::string>(), "Export")) command = entry.at("text");
  REQUIRE(command.starts_with("build/apps/vicreg/train "));
  Arguments words;  // none of them has a space
  for (std::istringstream stream(command); stream.good();) stream >> words.emplace_back();
  words.erase(words.begin());
  const CommandResult result = run_train(words);
  INFO("output: ", result.output);
  CHECK(result.exit_code == 0);
  CHECK(checkpoint_bytes(out) == before);
  CHECK(fs::exists(out / "weights.safetensors"));
}

TEST_CASE("events that cannot be written end with a warning, not the run") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  // A file may have 1,600 blocks of 512 bytes, and the events of 12 epochs are more.
  Arguments shell{"-c", "trap '' XFSZ; ulimit -f 1600; exec \"$@\"", "sh", program("train")};
  const CommandResult result = run_command(
      "/bin/sh", shell + tiny + Arguments{"--out", out, "--epochs", "12", "--tensorboard"});
  INFO("output: ", result.output);
  CHECK(result.exit_code == 0);
  CHECK(contains(result.output, "warning: no more events: "));
  CHECK(losses(out).size() == 36);
}

TEST_CASE("kNN is measured in the epochs that --knn-every names") {
  const TempFolder folder;
  train_well(folder / "run", {"--epochs", "5", "--knn-every", "2", "--knn-images", "10"});
  std::vector<std::int64_t> measured;
  for (const auto& record :
       gradus::vicreg::read_metrics(folder / "run" / "metrics.jsonl").accuracies)
    measured.push_back(record.epoch);
  CHECK(measured == std::vector<std::int64_t>{2, 4});
}

TEST_CASE("--clip-norm bounds the gradients, --separate-views takes statistics of each view") {
  const TempFolder folder;
  const Arguments one_step{"--steps",    "1", "--optimizer", "sgd",      "--lr",           "0.01",
                           "--momentum", "0", "--schedule",  "constant", "--weight-decay", "0"};
  const auto weights = [&](const char* name) {
    return read_safetensors(folder / name / "checkpoint.safetensors").tensors;
  };
  train_well(folder / "before", {"--steps", "0"});
  train_well(folder / "free", one_step);
  train_well(folder / "clipped", one_step + Arguments{"--clip-norm", "0.5"});
  train_well(folder / "separate", one_step + Arguments{"--separate-views"});
  const auto distance = [&](const char* name) {  // of the parameters from the initial ones
    const auto before = weights("before"), after = weights(name);
    double squares = 0;
    for (const auto& [key, tensor] : before) {
      if (contains(key, "running_") || contains(key, "num_batches") || contains(key, "optimizer"))
        continue;
      const auto from = tensor.to_vector<float>(), to = after.at(key).to_vector<float>();
      for (std::size_t i = 0; i < from.size(); ++i) squares += std::pow(double(to[i]) - from[i], 2);
    }
    return std::sqrt(squares);
  };
  CHECK(distance("free") > 0.01 * 0.6);
  CHECK(distance("clipped") == near(0.01 * 0.5, 0.01));
  CHECK(losses(folder / "separate") != losses(folder / "free"));
}

TEST_CASE("--no-winograd trains in plain sums") {
  const TempFolder folder;
  const auto means = [&](const char* name, const Arguments& options) {
    train_well(folder / name, Arguments{"--width", "16", "--steps", "1"} + options);
    return read_safetensors(folder / name / "checkpoint.safetensors")
        .tensors.at("encoder.layer4.1.bn2.running_mean")
        .to_vector<float>();
  };
  CHECK(means("plain", {"--no-winograd"}) != means("winograd", {}));  // by rounding
}

TEST_CASE("a collapse is told") {
  const TempFolder folder;
  const fs::path weights = folder / "weights.safetensors";
  train_well(folder / "initial", {"--steps", "0", "--export", weights.string()});
  gradus::TensorFile file = read_safetensors(weights);
  file.tensors.at("projector.network.3.weight").fill(0);  // all images have the same embedding
  gradus::write_safetensors(weights, file);
  const Arguments start{"--init", weights.string(), "--epochs", "1", "--lr", "1e-9"};
  CHECK(
      contains(train_well(folder / "run", start).output, "warning: the embeddings are collapsing"));
}

TEST_CASE("--augment none makes every view the image") {
  const TempFolder folder;
  for (const char* views : {"2", "4"}) {
    const fs::path out = folder / views;
    train_well(out, {"--steps", "3", "--augment", "none", "--no-shuffle", "--views", views});
    for (const auto& record : gradus::vicreg::read_metrics(out / "metrics.jsonl").steps)
      CHECK(record.loss.invariance == 0);
  }
}

TEST_CASE("many small views of each image") {
  const TempFolder folder;
  const Arguments crops{"--crop-scale", "0.25,0.25", "--crop-ratio", "1,1", "--view-size", "16"};
  train_well(folder / "two", crops + Arguments{"--steps", "3"});
  train_well(folder / "nine", crops + Arguments{"--steps", "3", "--views", "9"});
  CHECK(losses(folder / "nine") != losses(folder / "two"));
  // Of nine views eight are shown.
  const auto pictures = [&](const char* run) {
    return gradus::vicreg::read_page_run(folder / run).at("training").at("pictures");
  };
  CHECK(pictures("two").at("views") == 2);
  CHECK(pictures("nine").at("views") == 8);
  CHECK(pictures("nine").at("view_size") == json{16, 16});
  CHECK(pictures("nine").at("image_size") == json{32, 32});
  CHECK(pictures("nine").at("labels").size() == 8);
}

TEST_CASE("the coding rate of many views: its terms are recorded, and it learns") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  const CommandResult result =
      train_well(out, {"--loss", "coding-rate", "--views", "4", "--limit", "96", "--batch-size",
                       "32", "--epochs", "8", "--lr", "0.01"});
  CHECK(contains(result.output, "sim "));
  CHECK(contains(result.output, "rate "));
  CHECK_FALSE(contains(result.output, "warning"));
  const auto metrics = gradus::vicreg::read_metrics(out / "metrics.jsonl");
  REQUIRE(metrics.steps.size() == 24);
  for (const auto& record : metrics.steps) {
    CHECK(record.loss.total == near(-200 * record.loss.similarity - record.loss.coding_rate, 1e-5));
    CHECK(record.loss.similarity <= 1 + 1e-6);
    CHECK(record.loss.coding_rate > 0);
  }
  CHECK(metrics.steps.back().loss.total < metrics.steps.front().loss.total);
  // Embeddings of length sqrt(D): their mean square is 1, and std_mean is at most its root.
  for (const auto& record : metrics.epochs) {
    CHECK(record.health.std_mean > 0.05);
    CHECK(record.health.std_mean < 1.01);
  }
  // The similarity has the weight that is asked for.
  train_well(folder / "weighed", {"--loss", "coding-rate", "--similarity", "150", "--steps", "1"});
  const auto loss =
      gradus::vicreg::read_metrics(folder / "weighed" / "metrics.jsonl").steps.at(0).loss;
  CHECK(loss.total == near(-150 * loss.similarity - loss.coding_rate, 1e-5));
}

TEST_CASE("the recipe of solo-learn runs") {
  const TempFolder folder;
  train_well(folder / "run", {"--recipe", "solo-learn", "--steps", "2"});
  const auto steps = gradus::vicreg::read_metrics(folder / "run" / "metrics.jsonl").steps;
  REQUIRE(steps.size() == 2);
  CHECK(steps[0].learning_rate == near(3e-5));  // the start of its warm-up
  CHECK(steps[1].learning_rate > steps[0].learning_rate);
}

TEST_CASE("the recipe of EMP-SSL runs") {
  const TempFolder folder;
  train_well(folder / "run", {"--recipe", "emp-ssl", "--view-size", "16", "--epochs", "2"});
  const auto steps = gradus::vicreg::read_metrics(folder / "run" / "metrics.jsonl").steps;
  REQUIRE(steps.size() == 6);
  CHECK(steps[0].learning_rate == near(0.3));
  CHECK(steps[3].learning_rate == near(0.15));  // a step of the cosine at a time
}

TEST_CASE("every optimiser and every schedule runs") {
  const TempFolder folder;
  std::vector<Arguments> settings;
  for (const char* optimizer : {"sgd", "adam", "adamw", "lars", "lars-vicreg", "muon"})
    settings.push_back({"--optimizer", optimizer, "--decay-weights-only"});
  for (const char* schedule : {"constant", "step", "cosine", "warmup-cosine", "vicreg"})
    settings.push_back({"--schedule", schedule, "--clip-norm", "1"});
  settings.push_back({"--augment", "solo-learn", "--separate-views", "--stem", "imagenet"});
  settings.push_back({"--arch", "resnet34", "--stem-bias", "--stem-padding", "0", "--fc-features",
                      "6", "--zero-init-residual"});
  std::vector<std::string> checkpoints;
  for (const Arguments& setting : settings) {
    CAPTURE(setting);
    const fs::path out = folder / "run";
    train_well(out, setting + Arguments{"--epochs", "3", "--steps", "5", "--lr", "0.1",
                                        "--warmup-epochs", "1", "--milestones", "1",
                                        "--weight-decay", "0.01", "--overwrite"});
    const std::vector<double> values = losses(out);
    REQUIRE(values.size() == 5);
    CHECK(std::isfinite(values[4]));
    auto tensors = read_safetensors(out / "checkpoint.safetensors").tensors;
    const auto weight = tensors.at("encoder.layer1.0.conv1.weight").to_vector<float>();
    checkpoints.emplace_back(reinterpret_cast<const char*>(weight.data()),
                             weight.size() * sizeof(float));
  }
  for (std::size_t i = 0; i < checkpoints.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) {
      CAPTURE(fmt::format("{} and {}", fmt::join(settings[i], " "), fmt::join(settings[j], " ")));
      CHECK(checkpoints[i] != checkpoints[j]);
    }
}

TEST_CASE("a short run lowers the loss") {
  const TempFolder folder;
  train_well(folder / "run",
             {"--limit", "96", "--batch-size", "32", "--epochs", "12", "--lr", "0.01"});
  const std::vector<double> values = losses(folder / "run");
  REQUIRE(values.size() == 36);
  double first = 0, last = 0;
  for (std::size_t i = 0; i < 6; ++i) {
    first += values[i];
    last += values[values.size() - 1 - i];
  }
  CHECK(last < 0.93 * first);
}
