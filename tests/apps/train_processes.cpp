// Shards in several processes.
#include <fmt/format.h>
#include <sys/resource.h>

#include "tests/apps/jobs.h"
#include "tests/support/near.h"
#include "vicreg/metrics.h"

namespace {

using namespace gradus::test;
namespace fs = std::filesystem;

}  // namespace

TEST_SUITE_BEGIN("processes" * doctest::skip(!has_mpiexec()));

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
      for (std::size_t i = 0; i < one.epochs.size(); ++i)
        CHECK(several.epochs[i].health.effective_rank == one.epochs[i].health.effective_rank);
      REQUIRE(several.accuracies.size() == one.accuracies.size());
      for (std::size_t i = 0; i < one.accuracies.size(); ++i)
        CHECK(several.accuracies[i].knn_accuracy == one.accuracies[i].knn_accuracy);
    }
    fs::remove_all(folder / "1");
    fs::remove_all(folder / "2");
    fs::remove_all(folder / "4");
  }
}

TEST_CASE("sums in any order differ by rounding alone") {
  const TempFolder folder;
  const Arguments run{"--steps", "2", "--shards", "4", "--lr", "0.01", "--optimizer", "sgd"};
  const std::string expected_bytes = train_whole(1, folder / "tree", run);
  // Open MPI left to itself may add up in the tree's order; it is told to go from process to
  // process.
  const CommandResult result = run_command(
      mpiexec(),
      Arguments{"-n", "4"} + tiny_train(folder / "any", run + Arguments{"--unordered-sums"}),
      {.environment = job_environment + Arguments{"OMPI_MCA_coll_tuned_use_dynamic_rules=1",
                                                  "OMPI_MCA_coll_tuned_allreduce_algorithm=1",
                                                  "OMPI_MCA_coll_libnbc_iallreduce_algorithm=1"}});
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  if (contains(run_job({"--version"}).output, "open-mpi.org"))
    CHECK(checkpoint_bytes(folder / "any") != expected_bytes);
  const auto tree = gradus::vicreg::read_metrics(folder / "tree" / "metrics.jsonl");
  const auto any = gradus::vicreg::read_metrics(folder / "any" / "metrics.jsonl");
  REQUIRE(any.steps.size() == 2);
  for (std::size_t i = 0; i < 2; ++i)  // rounding grows from step to step
    CHECK(any.steps[i].loss.total == near(tree.steps[i].loss.total, i == 0 ? 1e-5 : 2e-3));
}

TEST_CASE("the benchmark of sums runs in a job, and says what it needs alone") {
  const std::string bench = gradus::test::file_path("apps/bench/all_reduce");
  const CommandResult job = run_job({"-n", "2", bench, "--most-kib", "64", "--repeats", "2"});
  INFO("output: ", job.output);
  CHECK(job.exit_code == 0);
  CHECK(lines_of(job.output).size() == 4);  // the head, and 4, 16 and 64 KiB
  check_refused(run_command(bench, {}), {"mpirun -n 2"});
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
  check_resumed_after_kills(3, {2}, {"--shards", "4", "--steps", "150", "--checkpoint-every", "5"});
}

TEST_CASE("what the processes cannot do together is one line") {
  const TempFolder folder;
  check_job_refused(train_job(2, folder / "a", {}), {"process 0", "2 processes", "--shards 1"});
  check_job_refused(train_job(2, folder / "a", {"--dry-run"}), {"--dry-run is for one process"});
  check_job_refused(train_job(2, folder / "a", {"--no-such-option"}), {"--no-such-option"});
  check_job_refused(train_job(3, folder / "a", {"--shards", "4"}), {"got 3"});
  check_job_refused(train_job(2, folder / "a", {"--shards", "3"}), {"--shards", "3"});
  check_job_refused(train_job(2, folder / "a", {"--shards", "16"}), {"--batch-size 8", "16"});
  const auto two = [&](const Arguments& first, const Arguments& second) {
    const Arguments shards{"--shards", "2", "--steps", "1"};
    return run_job(Arguments{"-n", "1"} + tiny_train(folder / "b", shards + first) +
                   Arguments{":", "-n", "1"} + tiny_train(folder / "b", shards + second));
  };
  check_job_refused(two({"--lr", "0.1"}, {"--lr", "0.2"}), {"process 1 has lr = 0.2", "0.1"});
  for (const char* seed : {"1", "2"})
    train_whole(1, folder / seed, {"--steps", "0", "--seed", seed});
  const auto weights = [&](const char* seed) {
    return Arguments{"--init", (folder / seed / "checkpoint.safetensors").string()};
  };
  check_job_refused(two(weights("1"), weights("2")), {"process 1 has weights (hash) = "});
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
  std::jthread job([&] { result = train_job(2, out, {"--shards", "2", "--epochs", "100000"}); });
  wait_until([&] { return has_steps(out); });
  const std::vector<int> processes = processes_of_job(out);
  REQUIRE(processes.size() == 2);
  ::kill(processes[1], SIGTERM);
  job.join();
  INFO("output: ", result.output);
  CHECK(result.exit_code == 143);
  CHECK(contains(result.output, "interrupted: saved after step"));
  checkpoint_bytes(out);
}

TEST_CASE("what one process fails of is one line") {
  const TempFolder folder;
  // In the middle of the run no more than 64 KB can be written to a file: the checkpoint.
  const fs::path out = folder / "full";
  const Arguments run{"--shards", "4", "--steps", "100000", "--checkpoint-every", "20"};
  const Arguments shell{"-n", "2", "/bin/sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"};
  CommandResult full;
  std::jthread job([&] { full = run_job(shell + tiny_train(out, run)); });
  wait_until([&] { return has_steps(out); });
  const rlimit limit{65536, 65536};
  for (const int process : processes_of_job(out))
    CHECK(::prlimit(process, RLIMIT_FSIZE, &limit, nullptr) == 0);
  job.join();
  check_job_refused(full, {"process 0", "cannot write"});
  check_nothing_half_written(out);
  // Each member in turn throws while the sums of all are under way in the background.
  for (int member = 0; member < 4; ++member) {
    CAPTURE(member);
    const CommandResult result =
        run_job({"-n", "2", file_path("tests/failing_member"), std::to_string(member)});
    check_job_refused(result,
                      {fmt::format("process {}: [test] member {} fails", member / 2, member)});
  }
}

TEST_SUITE_END();

TEST_SUITE_BEGIN("emulated processes" * doctest::skip(!has_mpiexec()));

TEST_CASE("processes with a GPU each repeat their bytes, and give the loss of one") {
  const TempFolder folder;
  // The third step is recorded, the fourth a replay.
  const Arguments run{"--steps", "5", "--device", "cuda", "--optimizer", "sgd", "--lr", "0.01"},
      four = run + Arguments{"--shards", "4"};
  train_whole(1, folder / "one", run);
  const CommandResult result = train_job(4, folder / "four", four);
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  CHECK(contains(result.output, "4 processes with a GPU; exchanges go through the host"));
  CHECK_FALSE(contains(result.output, "kernel by kernel"));  // it was recorded
  const std::string first = checkpoint_bytes(folder / "four");
  CHECK(train_whole(4, folder / "again", four) == first);
  const auto whole = gradus::vicreg::read_metrics(folder / "one" / "metrics.jsonl");
  const auto parts = gradus::vicreg::read_metrics(folder / "four" / "metrics.jsonl");
  REQUIRE(parts.steps.size() == 5);
  for (std::size_t i = 0; i < 5; ++i) {  // rounding grows from step to step
    CAPTURE(i);
    const double expected = whole.steps[i].loss.total;
    CHECK(parts.steps[i].loss.total == near(expected, i == 0 ? 1e-6 : 2e-3));
  }
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

// Takes minutes; left out of what is required: ctest -L long.
TEST_SUITE_BEGIN("long processes" * doctest::skip(!has_mpiexec()));

TEST_CASE("20 processes are killed, and --resume goes on to the same bytes") {
  check_resumed_after_kills(20, {2, 4},
                            {"--shards", "4", "--steps", "300", "--checkpoint-every", "5"});
}

TEST_SUITE_END();
