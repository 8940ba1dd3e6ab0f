// What --dry-run says, and that it writes nothing.
#include "vicreg/dry_run.h"

#include <doctest/doctest.h>

#include "tests/apps/programs.h"
#include "tests/support/near.h"
#include "vicreg/recipes.h"

namespace {

using namespace gradus;
using namespace gradus::test;
using vicreg::largest_fitting_batch;
using vicreg::objection;
using vicreg::predict;
using vicreg::Rehearsal;

CommandResult dry_run(const std::filesystem::path& out, const Arguments& arguments) {
  return train_tiny(out, Arguments{"--dry-run"} + arguments);
}

constexpr std::uint64_t mib = 1 << 20;

}  // namespace

TEST_CASE("dry-run: multiply-adds are those of the layers") {
  Generator rng(0);
  nn::VICRegModel model({.projector_widths = {1024, 1024, 1024, 1024}}, rng);
  // ResNet-18 for 32x32 has 555.4 million in convolutions (He et al. count 1.8 G at 224x224 with
  // the other stem); the projector 512 1024 + 3 1024^2.
  CHECK(vicreg::multiply_adds(model, {1, 32, 32, 3}, Device::cpu) ==
        555'417'600 + 512 * 1024 + 3 * 1024 * 1024);
}

TEST_CASE("dry-run: larger steps are on the line through the last two") {
  CHECK(predict({{8, 1, 100}}, 16).seconds == 2);
  CHECK(predict({{8, 1, 100}}, 16).tensors == 200);
  const std::vector<Rehearsal> done{{1, 9, 9}, {8, 1, 100}, {16, 1.5, 140}};
  CHECK(predict(done, 32).seconds == 2.5);
  CHECK(predict(done, 32).tensors == 220);
  CHECK(predict(done, 16).seconds == 1.5);
  CHECK(predict({{8, 2, 100}, {16, 1, 100}}, 64).seconds == 0);  // noise, never negative
}

TEST_CASE("dry-run: the largest batch that fits") {
  CHECK(largest_fitting_batch({8, 1, 100}, {16, 1, 180}, 95) == 8 + 9);  // ten bytes an image
  CHECK(largest_fitting_batch({8, 1, 100}, {16, 1, 180}, -25) == 8 - 3);
  CHECK(largest_fitting_batch({8, 1, 100}, {8, 1, 100}, 95) == 0);
  CHECK(largest_fitting_batch({8, 1, 100}, {16, 1, 100}, 95) == 0);
}

TEST_CASE("dry-run: what does not fit, and what to change") {
  vicreg::TrainOptions options = vicreg::recipe_defaults(vicreg::Recipe::standard);
  const vicreg::Supply enough{10 * mib, 20 * mib}, little{5000 * mib, 2000 * mib};
  CHECK_FALSE(objection(options, enough, enough, 0).has_value());
  const std::string memory = objection(options, little, little, 96).value();
  for (const char* part : {"5.2 GB of memory", "2.1 GB are there", "--batch-size 96 fits", "--bf16",
                           "--checkpoint-activations"})
    CHECK_MESSAGE(contains(memory, part), memory);
  options.compute.bf16 = options.checkpoint_activations = true;
  const std::string nothing = objection(options, little, enough, 1).value();
  CHECK(contains(nothing, "a smaller --batch-size alone does not help"));
  CHECK_FALSE(contains(nothing, "--bf16"));
  CHECK_FALSE(contains(nothing, "--checkpoint-activations"));
  const std::string disk = objection(options, enough, little, 0).value();
  CHECK_MESSAGE(contains(disk, "of disk"), disk);
  CHECK(contains(disk, "--out"));
}

TEST_CASE("--dry-run says what a run takes within ten seconds, and writes nothing") {
  const TempFolder folder;
  for (const Arguments& setting :
       {Arguments{},
        {"--bf16", "--checkpoint-activations"},
        {"--views", "5", "--view-size", "16"},
        {"--loss", "coding-rate", "--knn-every", "1", "--knn-images", "20"},
        {"--probe", "--tensorboard", "--test-limit", "20", "--export", folder / "x"}}) {
    CAPTURE(setting);
    const CommandResult result = dry_run(folder / "run", setting + Arguments{"--epochs", "4"});
    INFO("output: ", result.output);
    CHECK(result.exit_code == 0);
    CHECK(result.seconds < 20 * patience);  // beside other tests
    for (const char* part : {"images        24 images of synthetic, 32x32, 10 classes",
                             "parameters    ", "multiply-adds ", "tensors ", "resident ", "a step ",
                             "the run ", "(12 steps, 3 an epoch)", "disk ", "It fits."})
      CHECK_MESSAGE(contains(result.output, part), part);
    CHECK(std::filesystem::is_empty(folder.path()));
  }
}

TEST_CASE("--dry-run: a step takes all views forward and backward and the run takes its steps") {
  const TempFolder folder;
  // So many epochs that the run takes days; the disk need not suffice.
  const std::string told =
      dry_run(folder / "run", {"--views", "5", "--view-size", "16", "--epochs", "200000000"})
          .output;
  CAPTURE(told);
  CHECK(number_behind("forward, ", told) ==
        near(3.0 * 5 * 8 * number_behind("multiply-adds ", told), 0.002));
  const double step_days = 6e8 * number_behind("a step  ", told) / (24 * 3600);
  const double days = number_behind("the run  ", told);
  REQUIRE(contains(told, " days"));
  CHECK(days + 1 > 0.99 * step_days);  // cut to whole ones
  CHECK(days < 10 * step_days);        // with what the ends of epochs take
}

TEST_CASE("--dry-run: --checkpoint-activations needs less memory for tensors") {
  const TempFolder folder;
  const auto megabytes = [&](const Arguments& options) {
    return number_behind("tensors ", dry_run(folder / "run", options).output);
  };
  CHECK(megabytes({"--checkpoint-activations"}) < 0.9 * megabytes({}));
}

TEST_CASE("--dry-run: the disk is that of two checkpoints, with the optimiser's state") {
  const TempFolder folder;
  const Arguments run{"--width", "32", "--steps", "1"};
  const CommandResult told = dry_run(folder / "run", run);
  INFO("output: ", told.output);
  REQUIRE(told.exit_code == 0);
  REQUIRE(train_tiny(folder / "run", run).exit_code == 0);
  const auto checkpoint = static_cast<double>(checkpoint_bytes(folder / "run").size());
  REQUIRE(checkpoint > 30e6);  // beside it, the rest is little
  CHECK(number_behind("disk ", told.output) * 1e6 == near(2 * checkpoint, 0.05));
}

TEST_CASE("--dry-run tells what is left of a run, of the batches that there are") {
  const TempFolder folder;
  REQUIRE(train_tiny(folder / "run", {"--steps", "5"}).exit_code == 0);
  const std::string bytes = checkpoint_bytes(folder / "run");
  check_refused(dry_run(folder / "run", {}), {"already has a checkpoint"});
  const CommandResult rest = dry_run(folder / "run", {"--resume", "--epochs", "4"});
  CHECK(rest.exit_code == 0);
  CHECK_MESSAGE(contains(rest.output, "(7 steps, 3 an epoch)"), rest.output);
  CHECK(checkpoint_bytes(folder / "run") == bytes);

  check_refused(
      dry_run(folder / "wide", {"--init", folder / "run/checkpoint.safetensors", "--width", "6"}),
      {"does not fit the model", "encoder.conv1.weight"});
  const auto operations = [&](const char* batch_size) {
    return number_behind(
        "forward, ", dry_run(folder / "wide", {"--batch-size", batch_size, "--keep-last"}).output);
  };
  CHECK(operations("24") == near(3 * operations("8"), 0.001));
  CHECK(operations("96") == operations("24"));  // there are no more images
}

TEST_CASE("--dry-run of fewer images than two batches, of which one would have a single image") {
  const TempFolder folder;
  for (const char* images : {"3", "5"}) {
    const CommandResult result =
        dry_run(folder / "run", {"--limit", images, "--batch-size", images, "--keep-last"});
    INFO("output: ", result.output);
    CHECK(result.exit_code == 0);
  }
}

TEST_CASE("--dry-run refuses what does not fit before it takes the memory") {
  const TempFolder folder;
  const CommandResult result = run_train({"--dry-run", "--dataset", "synthetic", "--limit", "50000",
                                          "--batch-size", "50000", "--views", "64", "--width", "16",
                                          "--projector", "16,16", "--out", folder / "run"});
  check_refused(result, {"the run does not fit", "of memory", "--batch-size ", "fits"});
  CHECK(std::filesystem::is_empty(folder.path()));
  check_refused(dry_run(folder / "run", {"--dataset", "cifar10", "--data", folder / "none"}),
                {(folder / "none").string()});
}
