// Shards in several processes, started by mpirun: ctest's GRADUS_TEST_MPIEXEC says which one.
#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <random>
#include <thread>

#include "tests/apps/programs.h"
#include "vicreg/metrics.h"

namespace {

using namespace gradus::test;
namespace fs = std::filesystem;

/// Root may start jobs, of more processes than there are processors.
const std::vector<std::string> job_environment{
    "OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
    "OMPI_MCA_rmaps_base_oversubscribe=1", "OMP_WAIT_POLICY=passive"};

std::string mpiexec() {
  const char* path = std::getenv("GRADUS_TEST_MPIEXEC");
  REQUIRE(path != nullptr);
  return path;
}

Arguments job_of(int processes, const Arguments& arguments) {
  return Arguments{"-n", std::to_string(processes), program("train")} + arguments;
}

CommandResult run_job(const Arguments& arguments, CommandOptions options = {}) {
  options.environment = job_environment;
  return run_command(mpiexec(), arguments, options);
}

Arguments tiny_in(const fs::path& out, const Arguments& arguments) {
  return tiny + Arguments{"--out", out.string()} + arguments;
}

CommandResult train_job(int processes, const fs::path& out, const Arguments& arguments,
                        const CommandOptions& options = {}) {
  return run_job(job_of(processes, tiny_in(out, arguments)), options);
}

std::string train_whole(int processes, const fs::path& out, const Arguments& arguments) {
  const CommandResult result = train_job(processes, out, arguments);
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  return checkpoint_bytes(out);
}

/// The job failed with exactly one line of ours, which holds each of `parts`.
void check_job_refused(const CommandResult& result, const std::vector<std::string>& parts) {
  INFO("output: ", result.output);
  CHECK(result.exit_code != 0);
  CHECK_FALSE(result.timed_out);
  std::vector<std::string> errors;
  for (const std::string& line : lines_of(result.output))
    if (contains(line, "train: error: ")) errors.push_back(line);
  REQUIRE(errors.size() == 1);
  for (const std::string& part : parts) {
    CAPTURE(part);
    CHECK(contains(errors[0], part));
  }
}

/// The children of a process that run `train`.
std::vector<int> processes_of_job(const fs::path& out) {
  std::vector<int> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const int process = std::atoi(entry.path().filename().c_str());
    if (process == 0) continue;
    std::ifstream file(entry.path() / "cmdline", std::ios::binary);
    const std::string line{std::istreambuf_iterator<char>(file), {}};
    const bool is_train = line.rfind(program("train"), 0) == 0;
    if (is_train && contains(line, out.string())) found.push_back(process);
  }
  return found;
}

}  // namespace

TEST_SUITE_BEGIN("processes" * doctest::skip(std::getenv("GRADUS_TEST_MPIEXEC") == nullptr));

TEST_CASE("checkpoints are a function of the shards, not of the processes") {
  const TempFolder folder;
  const std::vector<Arguments> settings{
      {"--steps", "4", "--shards", "4"},
      {"--steps", "3", "--shards", "4", "--optimizer", "lars", "--clip-norm", "0.1",
       "--checkpoint-activations", "--projector", "16,4", "--separate-views", "--bf16"},
      {"--steps", "3", "--shards", "2", "--views", "3", "--loss", "coding-rate", "--knn-every",
       "1"},
  };
  for (const Arguments& setting : settings) {
    CAPTURE(setting);
    const int shards = std::stoi(setting[3]);
    const std::string expected = train_whole(1, folder / "1", setting);
    for (int processes = 2; processes <= shards; processes *= 2) {
      CAPTURE(processes);
      const fs::path out = folder / std::to_string(processes);
      CHECK(train_whole(processes, out, setting) == expected);
      const auto one = gradus::vicreg::read_metrics(folder / "1" / "metrics.jsonl");
      const auto several = gradus::vicreg::read_metrics(out / "metrics.jsonl");
      REQUIRE(several.steps.size() == one.steps.size());
      for (std::size_t i = 0; i < one.steps.size(); ++i)
        CHECK(several.steps[i].loss.total == one.steps[i].loss.total);
      REQUIRE(several.epochs.size() == one.epochs.size());
      for (std::size_t i = 0; i < one.epochs.size(); ++i) {
        CHECK(several.epochs[i].effective_rank == one.epochs[i].effective_rank);
        CHECK(several.epochs[i].knn_accuracy == one.epochs[i].knn_accuracy);
      }
    }
    fs::remove_all(folder / "1");
    fs::remove_all(folder / "2");
    fs::remove_all(folder / "4");
  }
}

TEST_CASE("a run is resumed with any number of processes") {
  const TempFolder folder;
  const Arguments shards{"--shards", "4", "--steps"};
  const std::string expected = train_whole(1, folder / "whole", shards + Arguments{"5"});
  train_whole(4, folder / "parts", shards + Arguments{"1"});
  train_whole(1, folder / "parts", shards + Arguments{"2", "--resume"});
  train_whole(2, folder / "parts", shards + Arguments{"4", "--resume"});
  CHECK(train_whole(4, folder / "parts", shards + Arguments{"5", "--resume"}) == expected);
  check_job_refused(train_job(2, folder / "parts", {"--shards", "2", "--steps", "6", "--resume"}),
                    {"process 0", "shards = 4", "2"});
}

TEST_CASE("a killed process ends the job, and --resume goes on to the same bytes") {
  const TempFolder folder;
  const Arguments run{"--shards", "4", "--steps", "150", "--checkpoint-every", "5"};
  const std::string expected = train_whole(1, folder / "whole", run);
  const std::uint64_t seed = std::random_device{}();
  MESSAGE("random seed: ", seed);
  std::mt19937_64 random(seed);
  const fs::path out = folder / "killed";
  fs::create_directories(out);  // a process may be killed before it has made it
  int killed = 0;
  for (int attempt = 0; killed < 3 && attempt < 20; ++attempt) {
    CommandResult result;
    std::thread job([&] { result = train_job(2, out, run + Arguments{"--resume"}); });
    const auto begin = std::chrono::steady_clock::now();
    const auto wait =
        std::chrono::milliseconds(std::uniform_int_distribution<int>(300, 900)(random));
    std::this_thread::sleep_until(begin + wait);
    const std::vector<int> processes = processes_of_job(out);
    const bool kills = !processes.empty();
    if (kills) ::kill(processes[random() % processes.size()], SIGKILL);
    job.join();
    INFO("output: ", result.output);
    if (!kills || result.exit_code == 0) continue;  // it was done by then
    ++killed;
    CHECK(result.seconds < 30);
    CHECK(contains(result.output, "signal 9"));
    for (const auto& entry : fs::directory_iterator(out))
      CHECK_FALSE(contains(entry.path().filename().string(), ".tmp"));
  }
  CHECK(killed == 3);
  CHECK(train_whole(4, out, run + Arguments{"--resume"}) == expected);
}

TEST_CASE("what the processes cannot do together is one line") {
  const TempFolder folder;
  check_job_refused(train_job(2, folder / "a", {}), {"process 0", "2 processes", "--shards 1"});
  check_job_refused(train_job(2, folder / "a", {"--no-such-option"}), {"--no-such-option"});
  check_job_refused(train_job(3, folder / "a", {"--shards", "4"}), {"got 3"});
  check_job_refused(train_job(2, folder / "a", {"--shards", "3"}), {"--shards", "3"});
  check_job_refused(train_job(2, folder / "a", {"--shards", "16"}), {"--batch-size 8", "16"});
  const auto two = [&](const Arguments& first, const Arguments& second) {
    const Arguments shards{"--shards", "2", "--steps", "1"};
    return run_job(job_of(1, tiny_in(folder / "b", shards + first)) + Arguments{":"} +
                   job_of(1, tiny_in(folder / "b", shards + second)));
  };
  check_job_refused(two({"--lr", "0.1"}, {"--lr", "0.2"}), {"process 1 has lr = 0.2", "0.1"});
  check_job_refused(two({"--shards", "2"}, {"--shards", "4"}), {"shards = 4", "process 0 has 2"});
  check_job_refused(two({}, {"--dataset", "cifar10", "--data", (folder / "none").string()}),
                    {"process 1", "none"});
  check_job_refused(two({"--data", (folder / "x").string()}, {"--limit", "23"}),
                    {"process 1 has", "limit = 23"});
  CHECK_FALSE(fs::exists(folder / "b" / "checkpoint.safetensors"));
}

TEST_CASE("SIGTERM to one process saves and ends all of them") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  CommandResult result;
  std::thread job([&] { result = train_job(2, out, {"--shards", "2", "--epochs", "100000"}); });
  for (int i = 0; i < 600 && !has_steps(out); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const std::vector<int> processes = processes_of_job(out);
  REQUIRE(processes.size() == 2);
  ::kill(processes[1], SIGTERM);
  job.join();
  INFO("output: ", result.output);
  CHECK(result.exit_code == 143);
  CHECK(contains(result.output, "interrupted: saved after step"));
  checkpoint_bytes(out);
}

TEST_SUITE_END();

TEST_SUITE_BEGIN("emulated processes" *
                 doctest::skip(std::getenv("GRADUS_TEST_MPIEXEC") == nullptr));

TEST_CASE("processes with a GPU each repeat their bytes, and give the loss of one") {
  const TempFolder folder;
  // The third step is recorded, the fourth a replay.
  const Arguments run{"--steps", "5", "--device", "cuda"}, four = run + Arguments{"--shards", "4"};
  train_whole(1, folder / "one", run);
  const CommandResult result = train_job(4, folder / "four", four);
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  CHECK(contains(result.output, "4 processes, a GPU each; exchanges go through the host"));
  CHECK_FALSE(contains(result.output, "kernel by kernel"));  // it was recorded
  const std::string first = checkpoint_bytes(folder / "four");
  CHECK(train_whole(4, folder / "again", four) == first);
  const auto whole = gradus::vicreg::read_metrics(folder / "one" / "metrics.jsonl");
  const auto parts = gradus::vicreg::read_metrics(folder / "four" / "metrics.jsonl");
  REQUIRE(parts.steps.size() == 5);
  const double expected = whole.steps[0].loss.total;
  CHECK(std::abs(parts.steps[0].loss.total - expected) < 1e-6 * expected);
  check_job_refused(train_job(2, folder / "threads", {"--device", "cuda", "--shards", "4"}),
                    {"on a GPU", "start 4 processes"});
}

TEST_CASE("a job on GPUs is resumed to the bytes of a whole run") {
  const TempFolder folder;
  const Arguments two{"--device", "cuda", "--shards", "2", "--steps"};
  const std::string expected = train_whole(2, folder / "whole", two + Arguments{"6"});
  train_whole(2, folder / "parts", two + Arguments{"4"});  // it stops between replays
  CHECK(train_whole(2, folder / "parts", two + Arguments{"6", "--resume"}) == expected);
}

TEST_SUITE_END();
