// `train` when something is wrong: data, folders, disks, numbers.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>

#include <gradus/tensor/io/safetensors.h>
#include "tests/apps/programs.h"
#include "tests/support/small_disk.h"

namespace {

using namespace gradus::test;
using gradus::read_safetensors;
using gradus::TensorFile;
namespace fs = std::filesystem;

/// Nothing that a failed save left half-written lies in the run folder.
void check_no_temporary(const fs::path& out) {
  for (const auto& entry : fs::directory_iterator(out)) CHECK(entry.path().extension() != ".tmp");
}

}  // namespace

TEST_CASE("data that is not there or is not CIFAR-10") {
  const TempFolder folder;
  const fs::path data = folder / "data";
  const auto refused = [&](const std::vector<std::string>& parts) {
    check_refused(train_tiny(folder / "run", {"--dataset", "cifar10", "--data", data.string()}),
                  parts);
    CHECK_FALSE(fs::exists(folder / "run" / "checkpoint.safetensors"));
  };
  refused({data.string()});
  fs::create_directory(data);
  refused({data.string()});
  write_zeros(data / "data_batch_1.bin", 30'000'000);
  refused({"data_batch_1.bin", "30730000"});
  write_zeros(data / "data_batch_1.bin", 30'730'000);
  overwrite(data / "data_batch_1.bin", 3 * 3073, "\x0a");
  refused({"data_batch_1.bin", "10"});
  fs::remove(data / "data_batch_1.bin");
  fs::create_directory(data / "data_batch_1.bin");
  refused({"data_batch_1.bin"});
}

TEST_CASE("batches that cannot be") {
  const TempFolder folder;
  check_refused(train_tiny(folder / "a", {"--batch-size", "25"}), {"25", "24"});
  check_refused(train_tiny(folder / "b", {"--batch-size", "23", "--keep-last"}), {"one image"});
  const CommandResult one = train_tiny(folder / "c", {"--batch-size", "24", "--epochs", "1"});
  CHECK(one.exit_code == 0);
}

TEST_CASE("a run folder that cannot be one") {
  const TempFolder folder;
  write_text(folder / "file", "mine");
  check_refused(train_tiny(folder / "file", {}), {(folder / "file").string()});
  check_refused(train_tiny(folder / "file" / "below", {}), {(folder / "file").string()});
  CHECK(read_text(folder / "file") == "mine");
  check_refused(train_tiny("/proc/gradus", {}), {"/proc/gradus"});
  if (::geteuid() != 0) {
    fs::create_directory(folder / "closed");
    fs::permissions(folder / "closed", fs::perms::owner_read | fs::perms::owner_exec);
    check_refused(train_tiny(folder / "closed", {}), {(folder / "closed").string(), "denied"});
  }
}

TEST_CASE("files that --init and --resume cannot use") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  check_refused(train_tiny(out, {"--init", folder / "none"}), {"none", "no such file"});
  write_text(folder / "text", "these are no weights, but words");
  check_refused(train_tiny(out, {"--init", folder / "text"}), {(folder / "text").string()});
  REQUIRE(train_tiny(out, {"--steps", "1", "--export", folder / "exported"}).exit_code == 0);
  check_refused(train_tiny(folder / "wide", {"--init", folder / "exported", "--width", "6"}),
                {(folder / "exported").string(), "encoder.conv1.weight"});
  check_refused(
      train_tiny(folder / "other", {"--init", folder / "exported", "--stem-padding", "0"}),
      {(folder / "exported").string(), "padding 1, the model's 0"});

  // A run that began with weights goes on without them.
  const auto begun = [&](const char* steps) {
    return train_tiny(folder / "begun",
                      {"--init", folder / "exported", "--steps", steps, "--resume"});
  };
  REQUIRE(begun("1").exit_code == 0);
  fs::remove(folder / "exported");
  CHECK(begun("2").exit_code == 0);
  REQUIRE(
      train_tiny(out, {"--steps", "1", "--resume", "--export", folder / "exported"}).exit_code ==
      0);

  const std::string checkpoint = checkpoint_bytes(out);
  write_text(out / "checkpoint.safetensors", checkpoint.substr(0, checkpoint.size() / 2));
  check_refused(train_tiny(out, {"--resume"}), {"checkpoint.safetensors", "truncated"});
  fs::copy_file(folder / "exported", out / "checkpoint.safetensors",
                fs::copy_options::overwrite_existing);
  check_refused(train_tiny(out, {"--resume"}), {"checkpoint.safetensors", "not a checkpoint"});
}

TEST_CASE("a loss that is not finite stops the run and keeps the last good checkpoint") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  check_refused(train_tiny(out, {"--lr", "1e30", "--checkpoint-every", "1"}),
                {"step 2 (epoch 1)", "encoder.", "after step 1", "images of the batch: "});
  CHECK(read_safetensors(out / "checkpoint.safetensors").metadata.at("gradus.step") == "1");
  check_no_temporary(out);
  CHECK(lines_of(read_text(out / "metrics.jsonl")).size() == 1);

  check_refused(train_tiny(folder / "unsaved", {"--lr", "1e30"}),
                {"no checkpoint was written yet"});
  CHECK_FALSE(fs::exists(folder / "unsaved" / "checkpoint.safetensors"));
}

TEST_CASE("the layer whose output is not finite is named, and weights that are not finite") {
  const TempFolder folder;
  const fs::path weights = folder / "weights";
  REQUIRE(train_tiny(folder / "first", {"--steps", "0", "--export", weights.string()}).exit_code ==
          0);
  TensorFile file = read_safetensors(weights);
  file.tensors.at("encoder.layer2.1.conv1.weight").fill(3e38);
  write_safetensors(weights, file);
  const CommandResult result =
      train_tiny(folder / "run", {"--init", weights.string(), "--no-shuffle"});
  check_refused(result, {"step 1 (epoch 1)", "that of encoder.layer2.1.conv1", "after step 0",
                         "0 1 2 3 4 5 6 7"});

  file.tensors.at("encoder.layer2.1.conv1.weight").data<float>()[5] = NAN;
  write_safetensors(weights, file);
  for (const char* steps : {"0", "3"}) {
    check_refused(train_tiny(folder / "none", {"--init", weights.string(), "--steps", steps}),
                  {"encoder.layer2.1.conv1.weight is not finite; no checkpoint was written"});
    CHECK_FALSE(fs::exists(folder / "none" / "checkpoint.safetensors"));
  }
}

TEST_CASE(
    "a layer that leaves the range by Winograd's algorithm alone is named, with the way out") {
  const TempFolder folder;
  const fs::path weights = folder / "weights";
  const Arguments wide{"--width", "16"};
  REQUIRE(
      train_tiny(folder / "first", wide + Arguments{"--steps", "0", "--export", weights.string()})
          .exit_code == 0);
  TensorFile file = read_safetensors(weights);
  // Weights whose transform overflows, of inputs so small that plain sums do not.
  file.tensors.at("encoder.layer1.0.bn1.weight").fill(1e-35);
  file.tensors.at("encoder.layer1.0.conv2.weight").fill(2e38);
  write_safetensors(weights, file);
  const Arguments start = wide + Arguments{"--init", weights.string(), "--steps", "1"};
  check_refused(train_tiny(folder / "run", start),
                {"step 1 (epoch 1)",
                 "that of encoder.layer1.0.conv2, though not with plain sums, which --no-winograd "
                 "asks for"});
}

TEST_CASE("a file that may not grow: the previous checkpoint stays") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  REQUIRE(train_tiny(out, {"--steps", "2"}).exit_code == 0);
  const std::string before = checkpoint_bytes(out);
  check_refused(
      train_tiny(out, {"--resume", "--steps", "4"}, {.file_size_limit = before.size() / 2}),
      {"checkpoint.safetensors", "File too large", "the previous file is untouched"});
  CHECK(checkpoint_bytes(out) == before);
  check_no_temporary(out);
  CHECK(train_tiny(out, {"--resume", "--steps", "4"}).exit_code == 0);
}

TEST_CASE("a full disk: the previous checkpoint stays") {
  const TempFolder folder;
  const SmallDisk disk(folder / "disk", "1100k");  // room for one checkpoint, not for two
  if (!disk.mounted()) {
    MESSAGE("SKIPPED: cannot mount a small tmpfs: ", disk.reason());
    return;
  }
  const fs::path out = folder / "disk" / "run";
  const CommandResult result = train_tiny(out, {"--checkpoint-every", "1"});
  check_refused(result, {"checkpoint.safetensors", "No space left on device", "needs",
                         "the previous file is untouched"});
  CHECK(read_safetensors(out / "checkpoint.safetensors").metadata.at("gradus.step") == "1");
  check_no_temporary(out);
}

TEST_CASE("a report that cannot be written is one warning, and changes nothing of the run") {
  const TempFolder folder;
  const Arguments run{"--epochs", "2"};
  REQUIRE(train_tiny(folder / "with", run).exit_code == 0);
  const fs::path out = folder / "without";
  fs::create_directories(out / "report.html");
  const CommandResult result = train_tiny(out, run);
  INFO("output: ", result.output);
  CHECK(result.exit_code == 0);
  std::vector<std::string> warnings;
  for (const std::string& line : lines_of(result.output))
    if (contains(line, "no report")) warnings.push_back(line);
  REQUIRE(warnings.size() == 1);
  for (const char* part : {"warning: ", "report.html", "not a regular file", "training goes on"}) {
    CAPTURE(part);
    CHECK(contains(warnings[0], part));
  }
  CHECK(checkpoint_bytes(out) == checkpoint_bytes(folder / "with"));
  CHECK(lines_of(read_text(out / "metrics.jsonl")).size() == 8);  // two epochs of three steps
  // As soon as it can be written, it is.
  fs::remove(out / "report.html");
  CHECK_FALSE(contains(train_tiny(out, {"--epochs", "3", "--resume"}).output, "no report"));
  CHECK(fs::is_regular_file(out / "report.html"));
}
