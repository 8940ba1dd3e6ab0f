// The classifier beside the encoder: what it learns, and that nothing else notices it.
#include "vicreg/online_probe.h"

#include <doctest/doctest.h>

#include <cmath>

#include <gradus/autograd/ops.h>
#include <gradus/nn/losses.h>
#include <gradus/tensor/io/safetensors.h>
#include <gradus/tensor/ops.h>
#include "tests/apps/programs.h"
#include "tests/apps/small_model.h"
#include "tests/support/compare.h"
#include "tests/support/device.h"
#include "tests/support/errors.h"
#include "vicreg/metrics.h"
#include "vicreg/recipes.h"
#include "vicreg/train_step.h"

namespace {

using namespace gradus;
using namespace gradus::test;
using vicreg::OnlineProbe;
namespace fs = std::filesystem;

CommandResult train_well(const fs::path& out, const Arguments& arguments) {
  CommandResult result = train_tiny(out, arguments, {.environment = {"GRADUS_EMULATOR_ORDERS=0"}});
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  return result;
}

/// The tensors of a checkpoint that are the model's and its optimiser's.
std::map<std::string, Tensor> without_probe(const fs::path& out) {
  auto tensors = read_safetensors(out / "checkpoint.safetensors").tensors;
  std::erase_if(tensors, [](const auto& entry) { return entry.first.starts_with("probe."); });
  return tensors;
}

const Arguments few_test_images{"--test-limit", "30"};

}  // namespace

TEST_CASE("probe: an update is SGD's with momentum on the mean cross-entropy") {
  const Tensor features = from_vector<float>({1, 0, 0, 1, 1, 1, -1, 2}, {4, 2});
  const Tensor labels = from_vector<std::int64_t>({0, 1, 2, 1}, {4});
  OnlineProbe probe(2, 3, 4, 0, Device::cpu);
  const nn::StateDict before = probe.state();
  Variable weight(before.at("weight").clone(), true), bias(before.at("bias").clone(), true);
  Tensor weight_momentum = zeros({3, 2}), bias_momentum = zeros({3});
  const auto update = [](Variable& parameter, Tensor& momentum, double lr) {
    momentum = momentum * 0.9 + parameter.grad();
    add_scaled(parameter.value(), momentum, -lr);
  };
  for (const double schedule : {1.0, 0.5}) {
    weight.zero_grad();
    bias.zero_grad();
    nn::cross_entropy(linear(Variable(features), weight, bias), labels).backward();
    update(weight, weight_momentum, 0.1 * schedule);
    update(bias, bias_momentum, 0.1 * schedule);
    probe.prepare(schedule);
    probe.compute(features, labels, zeros({}));
    CHECK(relative_error(probe.state().at("weight"), weight.value()) < 1e-5);
    CHECK(relative_error(probe.state().at("bias"), bias.value()) < 1e-5);
  }
  // A guard that is not finite leaves weights and momentum as they were.
  nn::StateDict now;
  for (const auto& [name, tensor] : probe.state()) now[name] = tensor.clone();
  probe.prepare(1);
  probe.compute(features, labels, full({}, NAN));
  for (const char* name :
       {"weight", "bias", "optimizer.momentum.weight", "optimizer.momentum.bias"}) {
    CAPTURE(name);
    CHECK(same_bits(probe.state().at(name), now.at(name)));
  }
}

TEST_CASE("probe: it learns classes that a line separates, and counts them") {
  Generator rng(3);
  const Tensor x = normal({64, 4}, 0, 1, rng);
  std::vector<std::int64_t> classes;
  for (const auto values = x.to_vector<float>(); classes.size() < 64;)
    classes.push_back(values[4 * classes.size()] > 0);
  const Tensor labels = from_vector(classes, {64});
  OnlineProbe probe(4, 2, 128, 1, Device::cpu);
  for (int step = 0; step < 200; ++step) {
    probe.prepare(1);
    probe.compute(concat({x, x}), concat({labels, labels}), zeros({}));
  }
  CHECK(probe.accuracy(x, labels) > 0.95);
  CHECK(vicreg::share_correct(probe.predicted(), labels, 2) == probe.accuracy(x, labels));
  CHECK(vicreg::share_correct(from_vector<std::int64_t>({0, 1, 1, 1, 7, 7}, {6}),
                              from_vector<std::int64_t>({0, 1}, {2}), 2) == 0.75);
}

TEST_CASE("probe: a step trains it on the features of all views, at the run's rate") {
  vicreg::TrainOptions options = small_options();
  options.views.count = 3;
  options.batch_size = 4;
  SmallRun run(options);
  Generator rng(6);
  const Tensor images = normal({12, 16, 16, 3}, 0, 1, rng);  // view by view
  const Tensor labels = from_vector<std::int64_t>({0, 1, 2, 1}, {4});
  const std::int64_t features = run.model.encoder.feature_count();
  OnlineProbe probe(features, 3, 12, 0, Device::cpu), expected(features, 3, 12, 0, Device::cpu);
  Tensor encoded;
  {
    const NoGrad no_grad;
    encoded = run.model.encoder(Variable(images)).value();
  }
  expected.prepare(0.25);
  expected.compute(encoded, concat({labels, labels, labels}), zeros({}));
  vicreg::TrainStep step(run.options, run.model, *run.optimizer, Device::cpu, /*replay=*/false,
                         &probe);
  step.run(images, 0.25 * vicreg::peak_learning_rate(run.options), labels);
  CHECK(relative_error(probe.state().at("weight"), expected.state().at("weight")) < 1e-5);
  CHECK(relative_error(probe.state().at("bias"), expected.state().at("bias")) < 1e-5);
}

TEST_CASE("probe: state that does not fit is refused") {
  OnlineProbe probe(4, 3, 8, 0, Device::cpu), other(4, 2, 8, 0, Device::cpu);
  CHECK(contains(error_of([&] { probe.load_state(other.state()); }), "weight"));
  CHECK(contains(error_of([&] { probe.load_state({}); }), "weight"));
}

TEST_CASE("a run with --probe: accuracies in the metrics, and the same encoder") {
  const TempFolder folder;
  const Arguments setting{"--epochs", "2", "--knn-every", "2", "--knn-images", "10"};
  train_well(folder / "plain", setting);
  const CommandResult result =
      train_well(folder / "probe", setting + few_test_images + Arguments{"--probe"});
  CHECK(contains(result.output, "probe "));
  CHECK(same_tensors(without_probe(folder / "probe"), without_probe(folder / "plain")));
  const auto tensors = read_safetensors(folder / "probe" / "checkpoint.safetensors").tensors;
  CHECK(tensors.at("probe.weight").shape() == Shape{10, 32});
  CHECK(tensors.contains("probe.optimizer.momentum.bias"));
  CHECK_FALSE(read_safetensors(folder / "plain" / "checkpoint.safetensors")
                  .tensors.contains("probe.weight"));
  const auto metrics = vicreg::read_metrics(folder / "probe" / "metrics.jsonl");
  for (const auto& step : metrics.steps) {
    REQUIRE(step.probe_train.has_value());
    const double views = *step.probe_train * 16;
    CHECK(views == std::round(views));
    CHECK(*step.probe_train <= 1);
  }
  CHECK(metrics.accuracies.size() == metrics.epochs.size());
  for (const auto& record : metrics.accuracies) {
    REQUIRE(record.probe_test.has_value());
    const double images = *record.probe_test * 30;
    CHECK(std::abs(images - std::round(images)) < 1e-9);
  }
  for (const auto& step : vicreg::read_metrics(folder / "plain" / "metrics.jsonl").steps)
    CHECK_FALSE(step.probe_train.has_value());
  // The checkpoint is one like any other.
  CHECK(run_linear_eval({(folder / "probe" / "checkpoint.safetensors").string(), "--dataset",
                         "synthetic", "--limit", "20", "--test-limit", "10", "--cached", "--crops",
                         "0", "--epochs", "1"})
            .exit_code == 0);
  check_refused(train_tiny(folder / "plain", setting + Arguments{"--probe", "--resume"}),
                {"probe"});
}

TEST_SUITE("device") {
  TEST_CASE("a resumed run with a probe is the uninterrupted one, and the encoder's is the same") {
    const TempFolder folder;
    const Arguments probe{
        "--device", std::string(name(test_device())), "--probe", "--test-limit", "10", "--steps"};
    train_well(folder / "whole", probe + Arguments{"6"});
    for (const char* steps : {"2", "4", "6"})
      train_well(folder / "parts", probe + Arguments{steps, "--resume"});
    CHECK(checkpoint_bytes(folder / "parts") == checkpoint_bytes(folder / "whole"));
    const CommandResult plain = train_well(
        folder / "plain", {"--device", std::string(name(test_device())), "--steps", "6"});
    CHECK_FALSE(contains(plain.output, "not as a graph"));
    CHECK(same_tensors(without_probe(folder / "whole"), without_probe(folder / "plain")));
    const CommandResult separate =
        train_well(folder / "separate", probe + Arguments{"5", "--separate-views", "--bf16"});
    CHECK_FALSE(contains(separate.output, "not as a graph"));
    for (const auto& step : vicreg::read_metrics(folder / "separate" / "metrics.jsonl").steps)
      CHECK(step.probe_train.has_value());
  }

  TEST_CASE("a label out of range is refused, or on a GPU makes the loss NaN") {
    const Tensor logits = zeros({2, 3}).to(test_device());
    const Tensor labels = from_vector<std::int64_t>({1, 3}, {2}).to(test_device());
    if (test_device() == Device::cpu) {
      CHECK(contains(error_of([&] { softmax_cross_entropy(logits, labels); }), "got 3"));
    } else {
      const auto losses = softmax_cross_entropy(logits, labels).to_vector<float>();
      CHECK(losses[0] == doctest::Approx(std::log(3.0)));
      CHECK(std::isnan(losses[1]));
    }
  }
}
