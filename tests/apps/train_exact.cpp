// The weights are a function of the options and the number of steps: whatever the threads, the
// workers, and the interruptions.
#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <random>

#include "tests/apps/programs.h"
#include "vicreg/metrics.h"

namespace {

using namespace gradus::test;
namespace fs = std::filesystem;

/// metrics.jsonl holds the steps 1 to `count`, each once, in order.
void check_steps(const fs::path& out, std::int64_t count) {
  const auto metrics = gradus::vicreg::read_metrics(out / "metrics.jsonl");
  REQUIRE(metrics.steps.size() == static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i)
    CHECK(metrics.steps[static_cast<std::size_t>(i)].step == i + 1);
  std::int64_t epoch = 0;
  for (const auto& record : metrics.epochs) CHECK(record.epoch == ++epoch);
  CHECK(epoch == count / 3);
}

}  // namespace

TEST_CASE("the same seed gives the same bytes, whatever the threads and the workers") {
  const TempFolder folder;
  const Arguments steps{"--steps", "4"};
  const std::string first = train_whole(folder / "a", steps);
  CHECK(train_whole(folder / "b", steps) == first);
  CHECK(train_whole(folder / "c", steps + Arguments{"--threads", "2"}) == first);
  CHECK(train_whole(folder / "d", steps + Arguments{"--workers", "0"}) == first);
  CHECK(train_whole(folder / "e", steps + Arguments{"--workers", "3"}) == first);
  CHECK(train_whole(folder / "f", steps + Arguments{"--seed", "1"}) != first);
  const Arguments muon = steps + Arguments{"--optimizer", "muon"};
  CHECK(train_whole(folder / "g", muon) ==
        train_whole(folder / "h", muon + Arguments{"--threads", "2"}));
}

TEST_CASE("checkpointed activations change no byte, and a run may take them up or leave them") {
  const TempFolder folder;
  const std::string expected = train_whole(folder / "plain", {"--steps", "4"});
  CHECK(train_whole(folder / "checkpointed", {"--steps", "4", "--checkpoint-activations"}) ==
        expected);
  CHECK(
      contains(read_text(folder / "checkpointed" / "config.toml"), "checkpoint-activations=true"));
  train_whole(folder / "both", {"--steps", "2", "--checkpoint-activations"});
  CHECK(train_whole(folder / "both", {"--steps", "4", "--resume", "--no-checkpoint-activations"}) ==
        expected);
}

TEST_CASE("a resumed run is the uninterrupted one") {
  const TempFolder folder;
  const std::vector<Arguments> settings{
      {},
      {"--optimizer", "lars", "--schedule", "warmup-cosine", "--warmup-epochs", "1", "--epochs",
       "3", "--separate-views"},
      {"--keep-last", "--limit", "20", "--optimizer", "sgd"},
      {"--optimizer", "muon", "--nesterov"},
      {"--views", "5", "--view-size", "16", "--crop-scale", "0.25,0.25", "--crop-ratio", "1,1",
       "--loss", "coding-rate"},
  };
  for (const Arguments& setting : settings) {
    CAPTURE(setting);
    const fs::path whole = folder / "whole", parts = folder / "parts";
    const std::string expected = train_whole(whole, setting + Arguments{"--steps", "8"});
    for (const char* steps : {"2", "3", "7", "8"}) {  // in mid-epoch, and at an epoch's end
      const CommandResult result =
          train_tiny(parts, setting + Arguments{"--steps", steps, "--resume"});
      INFO("output: ", result.output);
      REQUIRE(result.exit_code == 0);
    }
    CHECK(checkpoint_bytes(parts) == expected);
    check_steps(parts, 8);
    check_steps(whole, 8);
    fs::remove_all(whole);
    fs::remove_all(parts);
  }
}

TEST_CASE("a run whose rates do not depend on the number of epochs can be given more") {
  const TempFolder folder;
  const Arguments step{"--schedule", "step", "--milestones", "1,2"};
  const std::string whole = train_whole(folder / "whole", step + Arguments{"--epochs", "3"});
  train_whole(folder / "parts", step + Arguments{"--epochs", "1"});
  CHECK(train_whole(folder / "parts", step + Arguments{"--epochs", "3", "--resume"}) == whole);
  train_whole(folder / "cosine", {"--schedule", "cosine", "--epochs", "1"});
  check_refused(
      train_tiny(folder / "cosine", {"--schedule", "cosine", "--epochs", "3", "--resume"}),
      {"epochs = 1, this run has 3"});
}

TEST_CASE("a resumed run takes its options from the run folder") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  REQUIRE(train_tiny(out, {"--steps", "2", "--lr", "0.01", "--no-shuffle"}).exit_code == 0);
  const CommandResult resumed = run_train({"--resume", "--out", out.string(), "--steps", "4"});
  INFO("output: ", resumed.output);
  CHECK(resumed.exit_code == 0);
  CHECK(contains(resumed.output, "resumed"));
  CHECK(checkpoint_bytes(out) ==
        train_whole(folder / "whole", {"--steps", "4", "--lr", "0.01", "--no-shuffle"}));

  // Without --steps it goes on to the end of the epochs.
  const fs::path to_the_end = folder / "to the end";
  REQUIRE(train_tiny(to_the_end, {"--steps", "2", "--epochs", "2"}).exit_code == 0);
  REQUIRE(run_train({"--resume", "--out", to_the_end.string()}).exit_code == 0);
  check_steps(to_the_end, 6);

  const std::string before = checkpoint_bytes(out);
  check_refused(run_train({"--resume", "--out", out.string(), "--lr", "0.02"}),
                {"lr = 0.01", "0.02", "checkpoint.safetensors"});
  CHECK(checkpoint_bytes(out) == before);
  // Once done, resuming changes nothing.
  // Of options that differ, the one that the others come from is named.
  check_refused(run_train({"--resume", "--out", out.string(), "--schedule", "cosine"}),
                {"schedule = ", "this run has \"cosine\""});
  const CommandResult done = run_train({"--resume", "--out", out.string(), "--steps", "4"});
  CHECK(done.exit_code == 0);
  CHECK(checkpoint_bytes(out) == before);
  check_steps(out, 4);
}

TEST_CASE("killed before its first checkpoint, a run from --init goes on from these weights") {
  const TempFolder folder;
  const std::string weights = folder / "weights.safetensors";
  train_whole(folder / "other", {"--steps", "2", "--seed", "5", "--export", weights});
  const Arguments run{"--init", weights, "--epochs", "100", "--checkpoint-every", "1000"};
  const fs::path out = folder / "run";
  const CommandResult killed =
      train_tiny(out, run, {.signal = SIGKILL, .signal_when = [&] { return has_steps(out); }});
  INFO("output: ", killed.output);
  REQUIRE(killed.exit_code == 128 + SIGKILL);
  const CommandResult resumed =
      run_train({"--resume", "--out", out.string(), "--steps", "4", "--workers", "1"});
  INFO("output: ", resumed.output);
  REQUIRE(resumed.exit_code == 0);
  CHECK(contains(resumed.output, "at step 0"));
  CHECK(checkpoint_bytes(out) == train_whole(folder / "whole", run + Arguments{"--steps", "4"}));
  check_steps(out, 4);
}

TEST_CASE(
    "killed before its first checkpoint, a run with --overwrite has discarded the one before") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  train_whole(out, {"--steps", "2", "--seed", "5"});
  const CommandResult killed = train_tiny(
      out, {"--overwrite", "--epochs", "100", "--checkpoint-every", "1000"},
      {.signal = SIGKILL, .signal_when = [&] {
         return contains(read_text(out / "config.toml"), "checkpoint-every=1000") && has_steps(out);
       }});
  INFO("output: ", killed.output);
  REQUIRE(killed.exit_code == 128 + SIGKILL);
  CHECK_FALSE(fs::exists(out / "checkpoint.safetensors"));
  REQUIRE(run_train({"--resume", "--out", out.string(), "--steps", "2"}).exit_code == 0);
  CHECK(checkpoint_bytes(out) == train_whole(folder / "whole", {"--steps", "2"}));
}

TEST_CASE("SIGKILL at random moments changes nothing in the end") {
  const std::uint64_t seed = std::random_device{}();
  MESSAGE("random seed: ", seed);
  std::mt19937_64 random(seed);

  const TempFolder folder;
  const fs::path whole = folder / "whole.safetensors";
  const CommandResult uninterrupted =
      train_tiny(folder / "whole", {"--steps", "12", "--export", whole.string()});
  REQUIRE(uninterrupted.exit_code == 0);
  std::uniform_real_distribution<double> seconds(0.01, 0.6 * uninterrupted.seconds);
  int all_kills = 0;
  for (const std::string every : {"1", "2"}) {
    CAPTURE(every);
    const fs::path out = folder / ("killed-" + every);
    const fs::path exported = folder / "killed.safetensors";
    const Arguments arguments{
        "--steps", "12", "--resume", "--export", exported.string(), "--checkpoint-every", every};
    int kills = 0;
    for (int attempt = 0; attempt < 6; ++attempt) {
      using Clock = std::chrono::steady_clock;
      const auto moment = Clock::now() + std::chrono::duration<double>(seconds(random));
      const CommandResult result =
          train_tiny(out, arguments,
                     {.signal = SIGKILL, .signal_when = [&] { return Clock::now() > moment; }});
      INFO("output: ", result.output);
      REQUIRE((result.exit_code == 0 || result.exit_code == 128 + SIGKILL));
      kills += result.exit_code != 0;
    }
    MESSAGE(kills, " kills with --checkpoint-every ", every);
    all_kills += kills;
    REQUIRE(train_tiny(out, arguments).exit_code == 0);
    CHECK(read_text(exported) == read_text(whole));
    check_steps(out, 12);
    fs::remove(exported);
  }
  CHECK(all_kills > 0);
}

TEST_CASE("an epoch's checkpoint waits for its records but not for its evaluation") {
  const TempFolder folder;
  const fs::path out = folder / "run", checkpoint = out / "checkpoint.safetensors";
  const auto metrics = [&] { return gradus::vicreg::read_metrics(out / "metrics.jsonl"); };
  Arguments arguments{"--epochs",     "1",    "--knn-every",        "1",
                      "--knn-images", "1500", "--checkpoint-every", "0"};
  for (const std::string every : {"1000", "0"}) {  // the last step is saved in any case
    CAPTURE(every);
    arguments.back() = every;
    const CommandResult killed =
        train_tiny(out, arguments + Arguments{"--overwrite", "--tensorboard"},
                   {.signal = SIGKILL, .signal_when = [&] { return fs::exists(checkpoint); }});
    INFO("output: ", killed.output);
    REQUIRE(killed.exit_code == 128 + SIGKILL);
    CHECK(metrics().epochs.size() == 1);
    CHECK(metrics().accuracies.empty());
    for (const auto& entry : fs::directory_iterator(out))
      if (entry.path().filename().string().starts_with("events"))
        CHECK(contains(read_text(entry), "gradients/encoder.conv1.weight"));
    if (every == "1000") fs::remove(checkpoint);
  }

  const std::string before = read_text(checkpoint);
  const CommandResult resumed = train_tiny(out, arguments + Arguments{"--resume"});
  INFO("output: ", resumed.output);
  REQUIRE(resumed.exit_code == 0);
  CHECK(read_text(checkpoint) == before);
  CHECK(metrics().epochs.size() == 1);
  const auto evaluated = metrics().accuracies;
  REQUIRE(evaluated.size() == 1);
  REQUIRE(train_tiny(out, arguments + Arguments{"--resume"}).exit_code == 0);
  CHECK(metrics().accuracies.size() == 1);  // once is enough

  REQUIRE(train_tiny(out, arguments + Arguments{"--overwrite"}).exit_code == 0);
  CHECK(metrics().accuracies.at(0).knn_accuracy == evaluated[0].knn_accuracy);
}

TEST_CASE("a new run that fails while it clears the folder leaves the old run's checkpoint") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  train_whole(out, {"--steps", "1"});
  train_whole(folder / "other", {"--steps", "1", "--seed", "1"});
  const std::string before = checkpoint_bytes(out);
  const fs::path obstacle = out / "events.out.tfevents.folder";
  fs::create_directories(obstacle / "inside");
  for (const Arguments& options :
       {Arguments{"--seed", "2"},
        Arguments{"--init", (folder / "other" / "checkpoint.safetensors").string()}}) {
    const CommandResult result =
        train_tiny(out, Arguments{"--overwrite", "--steps", "1"} + options);
    INFO("output: ", result.output);
    CHECK(result.exit_code == 1);
    CHECK(checkpoint_bytes(out) == before);
  }
  fs::remove_all(obstacle);
  const CommandResult resumed = run_train({"--resume", "--out", out.string(), "--steps", "2"});
  INFO("output: ", resumed.output);
  CHECK(resumed.exit_code == 0);
  CHECK(contains(resumed.output, "resumed"));
  CHECK(checkpoint_bytes(out) == train_whole(folder / "whole", {"--steps", "2"}));
}

TEST_CASE("SIGINT, SIGTERM and SIGHUP finish the step, save, and say how to go on") {
  const TempFolder folder;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    CAPTURE(signal);
    const fs::path out = folder / std::to_string(signal);
    const CommandResult stopped =
        train_tiny(out, {"--epochs", "100", "--checkpoint-every", "1000"},
                   {.signal = signal, .signal_when = [&] { return has_steps(out); }});
    INFO("output: ", stopped.output);
    CHECK(stopped.exit_code == 128 + signal);
    CHECK(contains(stopped.output, "go on with --resume"));
    const auto metrics = gradus::vicreg::read_metrics(out / "metrics.jsonl");
    REQUIRE_FALSE(metrics.steps.empty());
    const std::int64_t done = metrics.steps.back().step;
    CHECK(contains(stopped.output, "saved after step " + std::to_string(done) + ";"));
    CHECK(done < 300);

    const std::string steps = std::to_string(done + 2);
    CHECK(train_tiny(out, {"--epochs", "100", "--resume", "--steps", steps}).exit_code == 0);
    check_steps(out, done + 2);
    CHECK(checkpoint_bytes(out) ==
          train_whole(folder / "until", {"--epochs", "100", "--steps", steps, "--overwrite"}));
  }
}
