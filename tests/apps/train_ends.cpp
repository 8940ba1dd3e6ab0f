// How runs end, and what they do to one another: signals, closed outputs, memory, shared folders.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <future>
#include <optional>
#include <thread>

#include "tests/apps/programs.h"
#include "tests/support/errors.h"
#include "vicreg/metrics.h"
#include "vicreg/run_lock.h"

namespace {

using namespace gradus::test;
using gradus::vicreg::RunLock;
namespace fs = std::filesystem;

/// Whether the first step was recorded a fifth of a second ago: the second one is under way.
class InSecondStep {
 public:
  explicit InSecondStep(fs::path out) : out_(std::move(out)) {}
  bool operator()() {
    const auto now = std::chrono::steady_clock::now();
    if (!seen_ && has_steps(out_)) seen_ = now;
    return seen_ && now - *seen_ > std::chrono::milliseconds(200);
  }

 private:
  fs::path out_;
  std::optional<std::chrono::steady_clock::time_point> seen_;
};

std::size_t step_count(const fs::path& out) {
  return gradus::vicreg::read_metrics(out / "metrics.jsonl").steps.size();
}

/// Steps of about a second: a signal that waits for a step's end waits long.
const Arguments long_steps{"--limit", "1024", "--batch-size", "512",
                           "--width", "16",   "--epochs",     "100"};

}  // namespace

TEST_CASE("a second signal, whichever it is, ends a run at once") {
  const TempFolder folder;
  for (const auto& [first, second] :
       {std::pair{SIGTERM, SIGTERM}, std::pair{SIGTERM, SIGINT}, std::pair{SIGHUP, SIGTERM}}) {
    CAPTURE(first);
    CAPTURE(second);
    const fs::path out = folder / fmt::format("{}-{}", first, second);
    const CommandResult result =
        train_tiny(out, long_steps,
                   {.signal = first, .signal_when = InSecondStep(out), .second_signal = second});
    INFO("output: ", result.output);
    CHECK(result.exit_code == 128 + second);
    CHECK_FALSE(contains(result.output, "saved"));
    CHECK_FALSE(fs::exists(out / "checkpoint.safetensors"));
  }
}

TEST_CASE("under nohup a hang-up does not end a run") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  const CommandResult result =
      run_command("/usr/bin/nohup",
                  Arguments{program("train")} + tiny +
                      Arguments{"--out", out.string(), "--steps", "80", "--epochs", "100"},
                  {.signal = SIGHUP, .signal_when = [&] { return has_steps(out); }});
  INFO("output: ", result.output);
  CHECK(result.exit_code == 0);
  CHECK(result.signalled);
  CHECK(step_count(out) == 80);
}

TEST_CASE("runs go on when nobody reads their output") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  const Arguments settings{"--epochs", "2", "--knn-every", "1", "--knn-images", "20"};
  const CommandResult trained = train_tiny(out, settings, {.output_is_closed = true});
  INFO("output: ", trained.output);
  CHECK(trained.exit_code == 0);
  CHECK(trained.output.empty());
  CHECK(step_count(out) == 6);
  REQUIRE(train_tiny(folder / "read", settings).exit_code == 0);
  CHECK(checkpoint_bytes(out) == checkpoint_bytes(folder / "read"));

  const CommandResult evaluated =
      run_linear_eval({(out / "checkpoint.safetensors").string(), "--dataset", "synthetic",
                       "--limit", "20", "--test-limit", "20", "--cached", "--epochs", "2", "--knn"},
                      {.output_is_closed = true});
  INFO("output: ", evaluated.output);
  CHECK(evaluated.exit_code == 0);
  CHECK(fs::exists(out / "linear_eval.json"));
}

TEST_CASE("without standard streams, nothing that is printed lands in a file of the run") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  const Arguments shell{"-c", "exec \"$0\" \"$@\" <&- >&- 2>&-", program("train")};
  const CommandResult result =
      run_command("/bin/sh", shell + tiny + Arguments{"--out", out.string(), "--epochs", "1"});
  CHECK(result.exit_code == 0);
  CHECK(step_count(out) == 3);
  for (const std::string& line : lines_of(read_text(out / "metrics.jsonl")))
    CHECK(line.starts_with('{'));
}

TEST_CASE("a program without memory ends with one line, at once" * doctest::skip(is_sanitized)) {
  const TempFolder folder;
  const auto refused = [](const CommandResult& result) {
    if (contains(result.output, "error while loading shared libraries")) {
      MESSAGE("SKIPPED: the limit is too low for this build's libraries");
      return;
    }
    check_refused(result, {"memory"});
    CHECK_FALSE(result.timed_out);
    CHECK(result.seconds < 10);
  };
  constexpr std::uint64_t limit = 100'000 * 1024;
  const Arguments data{"--dataset", "synthetic", "--limit",   "512",
                       "--device",  "cpu",       "--threads", "1"};  // each takes a stack
  refused(run_train(data + Arguments{"--out", folder / "run"},
                    {.timeout_seconds = 20, .address_space_limit = limit}));
  refused(run_linear_eval(data + Arguments{"--untrained", "--width", "256", "--cached"},
                          {.timeout_seconds = 20, .address_space_limit = limit}));
}

TEST_CASE("a limit on addresses leaves enough to all else" * doctest::skip(is_sanitized)) {
  const TempFolder folder;
  for (const std::uint64_t kib : {1'000'000, 2'110'000, 4'200'000, 4'230'000, 8'450'000}) {
    CAPTURE(kib);
    const CommandResult result = train_tiny(
        folder / "run", {"--device", "cpu", "--steps", "1", "--width", "32", "--overwrite"},
        {.address_space_limit = kib * 1024});
    CHECK_MESSAGE(result.exit_code == 0, result.output);
  }
}

TEST_CASE("threads that the system refuses are an error" * doctest::skip(is_sanitized)) {
  const TempFolder folder;
  constexpr std::uint64_t limit = std::uint64_t{3} << 30;  // a thread's stack takes 8 MiB
  check_refused(train_tiny(folder / "run", {"--device", "cpu", "--workers", "1024"},
                           {.address_space_limit = limit}),
                {"worker thread", "of 1024", "use fewer"});
  REQUIRE(train_tiny(folder / "run", {"--steps", "1", "--overwrite"}).exit_code == 0);
  check_refused(
      run_linear_eval({folder / "run/checkpoint.safetensors", "--device", "cpu", "--dataset",
                       "synthetic", "--limit", "20", "--test-limit", "20", "--cached", "--epochs",
                       "1", "--crops", "2", "--threads", "1", "--workers", "1024"},
                      {.address_space_limit = limit}),
      {"worker thread", "of 1024", "use fewer"});
}

TEST_CASE("a run folder has one process at a time") {
  const TempFolder folder;
  const fs::path out = folder / "run";
  std::atomic<bool> stop = false;
  auto first = std::async(std::launch::async, [&] {
    return train_tiny(out, {"--epochs", "10000"},
                      {.signal = SIGTERM, .signal_when = [&] { return stop.load(); }});
  });
  while (!has_steps(out) &&
         first.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) {
  }
  const std::string process = lines_of(read_text(out / ".lock")).at(0);
  const std::string config = read_text(out / "config.toml");
  for (const char* option : {"--resume", "--overwrite"})
    check_refused(train_tiny(out, {option, "--seed", "7"}),
                  {out.string(), "process " + process, "--out"});
  stop = true;
  const CommandResult stopped = first.get();
  INFO("output: ", stopped.output);
  CHECK(stopped.exit_code == 128 + SIGTERM);
  CHECK(read_text(out / "config.toml") == config);
  CHECK_FALSE(fs::exists(out / ".lock"));
  CHECK(train_tiny(out, {"--epochs", "10000", "--resume", "--steps", "1"}).exit_code == 0);
}

TEST_CASE("RunLock: taken once, free again, and not held by the dead") {
  const TempFolder folder;
  {
    const RunLock lock(folder.path());
    CHECK(error_of([&] { const RunLock second(folder.path()); }) ==
          fmt::format("[train] {} is in use: process {} trains there; wait for its end, or start "
                      "elsewhere with --out",
                      folder.path().string(), ::getpid()));
  }
  CHECK(count_files(folder.path()) == 0);
  write_text(folder / ".lock", "4711\n");  // of a process that was killed
  const RunLock lock(folder.path());
  CHECK(read_text(folder / ".lock") == fmt::format("{}\n", ::getpid()));
  CHECK(contains(error_of([&] { const RunLock second(folder / "none"); }),
                 "cannot write in the run folder"));
}
