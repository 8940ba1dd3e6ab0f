// Checkpoints of a PyTorch program: continued, and evaluated. The file and what PyTorch makes of it
// are of tests/reference/generate_pytorch.py.
#include "vicreg/pytorch_checkpoint.h"

#include <gradus/autograd/ops.h>
#include <gradus/tensor/io/pytorch.h>
#include "tests/apps/programs.h"
#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/near.h"
#include "tests/support/reference.h"
#include "vicreg/features.h"
#include "vicreg/metrics.h"
#include "vicreg/recipes.h"
#include "vicreg/train_step.h"
#include "vicreg/weights.h"

namespace {

using namespace gradus;
using namespace gradus::test;

const std::string checkpoint = file_path("tests/reference/pytorch_checkpoint.pt");

/// The batch that PyTorch saw: two views, one after the other.
Tensor images() {
  const Shape view{8, 16, 16, 3};
  Tensor both = empty({16, 16, 16, 3});
  for (int k = 0; k < 2; ++k)
    both.slice(8 * k, 8 * (k + 1))
        .copy_from(named_uniform("images/continued/view" + std::to_string(k), view, -2, 2)
                       .to(DType::float32));
  return both;
}

vicreg::TrainOptions options_of_checkpoint() {
  vicreg::TrainOptions options = vicreg::recipe_defaults(vicreg::Recipe::standard);
  options.model = vicreg::read_architecture(checkpoint);
  options.vicreg.eps = 0;
  options.batch_size = 8;
  return options;
}

const Arguments small_data{"--dataset", "synthetic", "--limit", "24",        "--batch-size",
                           "8",         "--workers", "1",       "--threads", "1"};

}  // namespace

TEST_CASE("the architecture of a PyTorch checkpoint is read off its weights") {
  const nn::VICRegModel::Options model = vicreg::read_architecture(checkpoint);
  CHECK(model.encoder.stem_padding == 0);
  CHECK(model.encoder.stem_bias);
  CHECK(model.encoder.width == 2);
  CHECK(model.encoder.fc_features == 16);
  CHECK(model.projector_widths == std::vector<std::int64_t>{8, 8, 8, 8});
}

TEST_CASE("continued from a PyTorch checkpoint, the next three losses are PyTorch's") {
  const vicreg::TrainOptions options = options_of_checkpoint();
  Generator generator(7);
  nn::VICRegModel model(options.model, generator);
  const auto optimizer = vicreg::make_optimizer(options, model.parameters());
  CHECK(vicreg::load_pytorch_checkpoint(checkpoint, model, *optimizer) == 2);
  CHECK(optimizer->step_count() == 6);
  const TensorFile expected = read_reference("pytorch_checkpoint.safetensors");
  {
    const NoGrad no_grad;
    const vicreg::EvalMode eval(model.encoder);
    const Tensor features = model.encoder(Variable(images().slice(0, 8))).value();
    CHECK(relative_error(features, expected.tensors.at("features")) < 1e-5);
  }
  vicreg::TrainStep step(options, model, *optimizer, Device::cpu);
  for (const float loss : expected.tensors.at("losses").to_vector<float>()) {
    step.run(images(), options.lr);
    CHECK(step.to_terms(step.loss()).total == near(loss, 1e-6));
  }
}

TEST_CASE("without Adam's state the losses would differ, so that the comparison can fail") {
  const vicreg::TrainOptions options = options_of_checkpoint();
  Generator generator(7);
  nn::VICRegModel model(options.model, generator);
  vicreg::load_weights(checkpoint, model);
  const auto optimizer = vicreg::make_optimizer(options, model.parameters());
  vicreg::TrainStep step(options, model, *optimizer, Device::cpu);
  const auto losses =
      read_reference("pytorch_checkpoint.safetensors").tensors.at("losses").to_vector<float>();
  step.run(images(), options.lr);
  CHECK(step.to_terms(step.loss()).total == near(losses[0], 1e-6));
  step.run(images(), options.lr);
  CHECK(step.to_terms(step.loss()).total != near(losses[1], 1e-3));
}

TEST_CASE("train --continue-from goes on at the epoch, with the architecture, and can be resumed") {
  const TempFolder folder;
  const Arguments run{"--out", folder / "run", "--loss-eps", "0"};
  const std::string copy = folder / "copy.pt";
  std::filesystem::copy_file(checkpoint, copy);
  // What a run left that was killed before its first checkpoint is not of this run.
  std::filesystem::create_directory(folder / "run");
  vicreg::MetricsWriter(folder / "run" / "metrics.jsonl", 0)
      .write(vicreg::StepRecord{.step = 1, .epoch = 1});
  const CommandResult first =
      run_train(small_data + run + Arguments{"--continue-from", copy, "--steps", "8"});
  INFO("output: ", first.output);
  REQUIRE(first.exit_code == 0);
  CHECK(contains(first.output, "after epoch 2"));
  const auto steps = vicreg::read_metrics(folder / "run" / "metrics.jsonl").steps;
  REQUIRE(steps.size() == 2);
  CHECK(steps[0].step == 7);
  std::filesystem::remove(copy);  // which the run does not need any more
  const Arguments resume{"--out", folder / "run", "--resume", "--continue-from", copy, "--steps",
                         "9",     "--workers",    "1"};
  const CommandResult resumed = run_train(resume);
  INFO("output: ", resumed.output);
  CHECK(resumed.exit_code == 0);
  CHECK(contains(resumed.output, "at step 8"));
  CHECK_FALSE(contains(resumed.output, "no steps are left"));
  CHECK(contains(run_train(resume).output, "no steps are left: 9 were made before"));
}

TEST_CASE("train --continue-from without a step keeps the position") {
  const TempFolder folder;
  const CommandResult result =
      run_train(small_data +
                Arguments{"--out", folder / "run", "--continue-from", checkpoint, "--steps", "0"});
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  CHECK(read_safetensors(folder / "run" / "checkpoint.safetensors").metadata.at("gradus.step") ==
        "6");
}

TEST_CASE("train --init and linear_eval take .pt files") {
  const TempFolder folder;
  const Arguments model{"--width",       "2",  "--stem-padding", "0",      "--stem-bias",
                        "--fc-features", "16", "--projector",    "8,8,8,8"};
  const auto exported = folder / "weights.safetensors";
  const CommandResult init = run_train(small_data + model +
                                       Arguments{"--init", checkpoint, "--steps", "0", "--out",
                                                 folder / "run", "--export", exported});
  INFO("output: ", init.output);
  REQUIRE(init.exit_code == 0);
  const TensorFile ours = read_safetensors(exported), theirs = read_pytorch(checkpoint);
  for (const auto& [name, tensor] : ours.tensors) {
    CAPTURE(name);
    const Tensor& other = theirs.tensors.at("model_state_dict." + name);
    CHECK(other.shape() == tensor.shape());
    CHECK(relative_error(tensor.to(DType::float64), other.to(DType::float64)) == 0);
  }
  const auto evaluate = [&](const std::string& file) {
    const CommandResult result = run_linear_eval({"--dataset",
                                                  "synthetic",
                                                  "--limit",
                                                  "24",
                                                  "--workers",
                                                  "1",
                                                  "--threads",
                                                  "1",
                                                  "--epochs",
                                                  "2",
                                                  "--test-limit",
                                                  "20",
                                                  "--cached",
                                                  "--crops",
                                                  "0",
                                                  "--features",
                                                  folder / "features.npy",
                                                  "--json",
                                                  folder / "results.json",
                                                  file});
    INFO("output: ", result.output);
    REQUIRE(result.exit_code == 0);
    return read_text(folder / "features_test.npy");
  };
  const std::string features = evaluate(checkpoint);
  CHECK(evaluate(exported) == features);
  CHECK(contains(features.substr(0, 128),
                 "{'descr': '<f4', 'fortran_order': False, 'shape': (20, 16), }"));
  CHECK(features.size() == 128 + 20 * 16 * 4);
  CHECK(contains(read_text(folder / "features_train_labels.npy").substr(0, 128),
                 "{'descr': '<i8', 'fortran_order': False, 'shape': (24,), }"));
  CHECK(read_text(folder / "features_train.npy").size() == 128 + 24 * 16 * 4);
}

TEST_CASE("what cannot be continued is refused in one line") {
  const TempFolder folder;
  const auto refused = [&](const std::string& file, const Arguments& more,
                           const std::vector<std::string>& parts) {
    check_refused(
        run_train(small_data + Arguments{"--out", folder / "run", "--continue-from", file} + more),
        parts);
  };
  refused(file_path("tests/reference/values_2.15_protocol2.pt"), {}, {"holds no ResNet encoder"});
  refused(file_path("tests/reference/values_legacy.pt"), {}, {"before 1.6"});
  refused(folder / "none.pt", {}, {"no such file"});
  refused(checkpoint, {"--init", checkpoint}, {"--init"});
  refused(checkpoint, {"--width", "3"}, {"cannot be continued", "conv1.weight"});
  refused(checkpoint, {"--optimizer", "sgd"}, {"cannot be continued", "momentum"});

  // The same file with one thing changed, as safetensors.
  const auto changed = [&](const std::string& name, double value) {
    TensorFile file = read_pytorch(checkpoint);
    REQUIRE(file.tensors.contains(name));
    file.tensors[name] = full({}, value, {DType::float64});
    const auto path = folder / "changed.safetensors";
    write_safetensors(path, file);
    return path.string();
  };
  const std::string group = "optimizer_state_dict.param_groups.0.";
  refused(changed(group + "betas.1", 0.99), {}, {group + "betas.1 is 0.99"});
  refused(changed(group + "amsgrad", 1), {}, {group + "amsgrad is 1"});
  refused(changed("epoch", 1.5), {}, {"epoch is 1.5"});
  refused(changed("optimizer_state_dict.state.0.step", -1), {}, {"state.0.step is -1"});
  refused(changed("optimizer_state_dict.state.3.exp_avg", 0), {}, {"state.3.exp_avg has shape []"});
}
