// What the members of a run compare before its first step.
#include "vicreg/same_run.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include <gradus/data/synthetic.h>
#include "tests/apps/small_model.h"

namespace {

using namespace gradus;
using namespace gradus::test;
using nlohmann::json;
using Names = std::vector<std::string>;

/// The names under which two descriptions differ.
Names differing(const json& a, const json& b) {
  Names names;
  for (const auto& [name, value] : a.items())
    if (b.at(name) != value) names.push_back(name);
  return names;
}

}  // namespace

TEST_CASE("members compare all that decides what they compute together") {
  SmallRun run;
  const data::Dataset train = data::synthetic_dataset(4, data::Split::train);
  const json first = vicreg::run_identity(run.options, Device::cpu, train, run.model, 0);
  for (const char* name : {"instructions", "program (hash)"})
    CHECK(first.at(name).get<std::string>() != "");

  vicreg::TrainOptions options = run.options;
  options.lr = 0.5;
  options.steps = 3;
  options.epochs = 9;
  options.checkpoint_every = 2;
  options.checkpoint_activations = options.unordered_sums = true;
  const data::Dataset other_images{.images = data::synthetic_dataset(4, data::Split::test).images,
                                   .labels = train.labels};
  const json second = vicreg::run_identity(options, Device::cuda, other_images, run.model, 4);
  CHECK(differing(first, second) == Names{"all epochs", "checkpoint-activations",
                                          "checkpoint-every", "device", "lr", "step", "steps",
                                          "training images (hash)", "unordered-sums"});
  CHECK(second.at("all epochs") == 9);
  CHECK(second.at("checkpoint-every") == 2);
  CHECK(second.at("step") == 4);
  CHECK(second.at("steps") == 3);

  data::Dataset other_labels{.images = train.images, .labels = train.labels.clone()};
  other_labels.labels.data<std::int64_t>()[3] = 9;
  run.model.parameters().back().variable->value().fill(3);
  const json third = vicreg::run_identity(run.options, Device::cpu, other_labels, run.model, 0);
  CHECK(differing(first, third) == Names{"training labels (hash)", "weights (hash)"});
}
