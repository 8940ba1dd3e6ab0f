// What `train` says of its options: the help, and what it refuses.
#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/apps/programs.h"

using namespace gradus::test;

TEST_CASE("a name that is not UTF-8 is refused where the configuration would hold it") {
  const TempFolder folder;
  const std::string name = folder / "caf\xe9";
  check_refused(train_tiny(name, {"--steps", "1"}), {"--out", "UTF-8"});
  CHECK(std::filesystem::is_empty(folder.path()));
  CHECK(train_tiny(folder / "caf\xc3\xa9", {"--steps", "0", "--export", name}).exit_code == 0);
}

TEST_CASE("--help shows the groups and the defaults") {
  const CommandResult result = run_train({"--help"});
  CHECK(result.exit_code == 0);
  for (const std::string part :
       {"Run", "Data", "Views", "Model and loss", "Optimiser", "--batch-size", "256", "0.0002",
        "1024,1024,1024,1024", "cifar-10-batches-bin", "adam", "500"}) {
    CAPTURE(part);
    CHECK(contains(result.output, part));
  }
  CHECK(contains(run_train({"--recipe", "solo-learn", "--help"}).output, "2048,2048,2048"));
}

TEST_CASE("bad options are refused in one line that names them") {
  const TempFolder folder;
  const std::string out = folder / "run";
  const auto refused = [&](const Arguments& arguments, const std::vector<std::string>& parts) {
    CAPTURE(arguments);
    check_refused(train_tiny(out, Arguments{"--steps", "1"} + arguments), parts);
    CHECK_FALSE(std::filesystem::exists(out));
  };
  refused({"--no-such-option"}, {"--no-such-option"});
  refused({"stray"}, {"stray"});
  refused({"--lr", "fast"}, {"--lr", "fast"});
  refused({"--lr", "0"}, {"--lr"});
  refused({"--lr", "-1"}, {"--lr"});
  refused({"--lr", "nan"}, {"--lr"});
  refused({"--lr", "inf"}, {"--lr"});
  refused({"--lr"}, {"--lr"});
  refused({"--weight-decay", "-0.1"}, {"--weight-decay"});
  refused({"--weight-decay", "nan"}, {"--weight-decay"});
  refused({"--covariance", "nan"}, {"--covariance"});
  refused({"--momentum", "1.5"}, {"--momentum"});
  refused({"--batch-size", "1"}, {"--batch-size"});
  refused({"--batch-size", "99999999999999999999"}, {"--batch-size"});
  refused({"--epochs", "0"}, {"--epochs"});
  refused({"--epochs", "2.5"}, {"--epochs", "'2.5' is not an integer from 1 to"});
  refused({"--limit", "99999999999999999999"}, {"--limit", "not an integer of at least 0"});
  refused({"--views", "0x10"}, {"--views", "0x10"});
  refused({"--milestones", "1,99999999999999999999"}, {"--milestones", "99999999999999999999"});
  refused({"--epochs", "9223372036854775807"}, {"--epochs"});
  refused({"--steps", "-2"}, {"--steps"});
  refused({"--projector", "8,0"}, {"--projector"});
  refused({"--projector", "8,x"}, {"--projector", "x"});
  refused({"--optimizer", "magic"}, {"--optimizer", "magic"});
  refused({"--recipe", "nobody's"}, {"--recipe", "nobody's"});
  refused({"--schedule", "1"}, {"--schedule", "1"});
  refused({"--augment", "none "}, {"--augment", "none "});
  refused({"--views", "1"}, {"--views", "1"});
  refused({"--views", "65"}, {"--views", "65"});
  refused({"--view-size", "-1"}, {"--view-size", "-1"});
  refused({"--crop-scale", "0.5"}, {"--crop-scale", "two numbers"});
  refused({"--crop-scale", "0.1,0.5,1"}, {"--crop-scale", "two numbers", "0.1,0.5,1"});
  refused({"--crop-ratio", "1,2,"}, {"--crop-ratio", "comma"});
  refused({"--crop-scale", "0.1,x"}, {"--crop-scale", "x"});
  refused({"--crop-scale", "0.1,nan"}, {"--crop-scale", "nan"});
  refused({"--crop-scale", "0.5,0.25"}, {"crop_scale", "0.5, 0.25"});
  refused({"--crop-scale", "0.5,1.5"}, {"crop_scale", "1.5"});
  refused({"--crop-ratio", "0,1"}, {"crop_ratio", "0, 1"});
  refused({"--loss", "simclr"}, {"--loss", "simclr", "coding-rate"});
  refused({"--distortion", "0"}, {"--distortion"});
  refused({"--similarity", "inf"}, {"--similarity"});
  refused({"--dataset", "CIFAR10"}, {"--dataset", "CIFAR10"});
  refused({"--arch", "resnet50"}, {"--arch", "resnet50", "resnet34"});
  refused({"--stem", ""}, {"--stem"});
  refused({"--device", "gpu"}, {"--device", "gpu"});
  refused({"--seed", "-1"}, {"--seed"});
  refused({"--workers", "-1"}, {"--workers"});
  refused({"--milestones", "-3"}, {"--milestones"});
  refused({"--schedule", "cosine", "--schedule"}, {"--schedule"});
  refused({"--schedule", "vicreg", "--epochs", "5"}, {"--warmup-epochs", "10", "5"});
  refused({"--resume", "--overwrite"}, {"--overwrite", "--resume"});
  for (const std::string name : {"--config", "--init", "--continue-from", "--export", "--data"})
    refused({name, ""}, {name, "is given an empty value"});
  // Whatever there is: no CUDA in the build, no driver, or no GPU to be seen.
  check_refused(run_train({"--device", "cuda"}, {.environment = {"CUDA_VISIBLE_DEVICES="}}),
                {"--device cuda: ", "--device cpu"});
}

TEST_CASE("an export does not overwrite what the run begins with") {
  const TempFolder folder;
  const std::string file = folder / "weights";
  write_text(file, "precious");
  check_refused(train_tiny(folder / "run", {"--init", file, "--export", file}),
                {"--export", "would overwrite " + file});
  CHECK(read_text(file) == "precious");
}

TEST_CASE("a bad configuration file is refused in one line that names it") {
  const TempFolder folder;
  const std::string file = folder / "run.toml";
  const auto refused = [&](const std::string& text, const std::vector<std::string>& parts) {
    CAPTURE(text);
    write_text(file, text);
    check_refused(train_tiny(folder / "run", {"--config", file}), parts);
    CHECK_FALSE(std::filesystem::exists(folder / "run"));
  };
  refused("seed=1\nlearning-rate=1\n", {file + ":2: ", "learning-rate"});
  refused("lr=\"fast\"\n", {file + ":1: ", "lr", "fast"});
  refused("lr=-1\n", {file + ":1: ", "lr"});
  refused("lr=1\n# again\nlr=2\n", {file + ":3: ", "lr"});
  refused("knn-images=[1, x]\n", {file + ":1: "});
  refused("[section]\nlr=1\n", {file + ":1: ", "section"});
  refused("no equals sign here\n", {file + ":1: "});
  refused("seed = 1\nlr = = 2\n", {file + ":2: "});
  refused("crop-scale = [0.1, 0.5, 1.0]\n", {file + ":1: ", "two numbers"});
  refused("crop-scale = 0.5\n", {file + ":1: ", "two numbers"});
  refused("projector = [8, 2.5]\n", {file + ":1: ", "2.5"});
  refused("winograd = \"4\"\n", {file + ":1: ", "winograd must be true or false"});
  refused("\nrecipe=\"nobody's\"\n", {file + ":2: ", "recipe", "nobody's"});
  refused("resume=true\n", {file + ":1: ", "resume", "command line"});
  refused("export=\"weights\"\n", {file + ":1: ", "export", "command line"});
  refused(std::string("\x00\xff\x7f"
                      "ELF\x01=\n\n\x02",
                      12),
          {file});
  check_refused(train_tiny(folder / "run", {"--config", folder / "none.toml"}), {"none.toml"});
  check_refused(train_tiny(folder / "run", {"--config", folder.path().string()}),
                {folder.path().string()});
}
