// Jobs of several processes, which mpirun starts: ctest's GRADUS_TEST_MPIEXEC says which one.
#pragma once

#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <random>
#include <thread>

#include "tests/apps/programs.h"

namespace gradus::test {

/// Whether jobs can be started.
inline bool has_mpiexec() { return std::getenv("GRADUS_TEST_MPIEXEC") != nullptr; }

inline std::string mpiexec() {
  REQUIRE(has_mpiexec());
  return std::getenv("GRADUS_TEST_MPIEXEC");
}

/// Root may start jobs, of more processes than there are processors.
inline const std::vector<std::string> job_environment{
    "OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
    "OMPI_MCA_rmaps_base_oversubscribe=1", "OMP_WAIT_POLICY=passive"};

/// mpirun with these arguments.
inline CommandResult run_job(const Arguments& arguments) {
  return run_command(mpiexec(), arguments, {.environment = job_environment});
}

/// `train` with the tiny settings, then `arguments`, in the run folder `out`.
inline Arguments tiny_train(const std::filesystem::path& out, const Arguments& arguments) {
  return Arguments{program("train")} + tiny + Arguments{"--out", out.string()} + arguments;
}

inline CommandResult train_job(int processes, const std::filesystem::path& out,
                               const Arguments& arguments) {
  return run_job(Arguments{"-n", std::to_string(processes)} + tiny_train(out, arguments));
}

/// Trains without a break, and returns the checkpoint's bytes.
inline std::string train_whole(int processes, const std::filesystem::path& out,
                               const Arguments& arguments) {
  const CommandResult result = train_job(processes, out, arguments);
  INFO("output: ", result.output);
  REQUIRE(result.exit_code == 0);
  return checkpoint_bytes(out);
}

/// The job failed, soon, with exactly one line of ours, which holds each of `parts`.
inline void check_job_refused(const CommandResult& result, const std::vector<std::string>& parts) {
  INFO("output: ", result.output);
  CHECK(result.exit_code != 0);
  CHECK(result.seconds < 30 * patience);
  std::vector<std::string> errors;
  for (const std::string& line : lines_of(result.output))
    if (contains(line, ": error: ")) errors.push_back(line);
  REQUIRE(errors.size() == 1);
  for (const std::string& part : parts) {
    CAPTURE(part);
    CHECK(contains(errors[0], part));
  }
}

/// Waits until something holds, or for so long that it never will.
inline void wait_until(const std::function<bool()>& holds) {
  for (int i = 0; i < 600 * patience && !holds(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
}

/// The processes of the job that train in `out`.
inline std::vector<int> processes_of_job(const std::filesystem::path& out) {
  std::vector<int> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const int process = std::atoi(entry.path().filename().c_str());
    if (process == 0) continue;
    std::ifstream file(entry.path() / "cmdline", std::ios::binary);
    const std::string line{std::istreambuf_iterator<char>(file), {}};
    const bool is_train = line.rfind(program("train"), 0) == 0;
    if (is_train && contains(line, out.string())) found.push_back(process);
  }
  return found;
}

inline void check_nothing_half_written(const std::filesystem::path& out) {
  for (const auto& entry : std::filesystem::directory_iterator(out))
    CHECK_FALSE(contains(entry.path().filename().string(), ".tmp"));
}

/// Kills a random process of a job at a random moment, `kills` times, in jobs of `processes` in
/// turn; each one ends soon, and the last one with the bytes of a run that nothing happened to.
/// Where a job was done by then, it is begun anew and given half the time.
inline void check_resumed_after_kills(int kills, const std::vector<int>& processes,
                                      const Arguments& run) {
  const TempFolder folder;
  const std::string expected = train_whole(1, folder / "whole", run);
  std::mt19937_64 random(20);
  const std::filesystem::path out = folder / "killed";
  std::filesystem::create_directories(out);  // a process may be killed before it has made it
  int killed = 0, most_wait = 600;           // milliseconds
  double longest = 0;                        // from a kill to the job's end
  for (int attempt = 0; killed < kills && attempt < 6 * kills; ++attempt) {
    using Clock = std::chrono::steady_clock;
    CommandResult result;
    Clock::time_point end;
    std::jthread job([&] {
      const int now = processes[static_cast<std::size_t>(killed) % processes.size()];
      result = train_job(now, out, run + Arguments{"--resume"});
      end = Clock::now();
    });
    wait_until([&] { return !processes_of_job(out).empty(); });
    const int wait = std::uniform_int_distribution<int>(0, most_wait)(random);
    std::this_thread::sleep_for(std::chrono::milliseconds(wait));
    const std::vector<int> living = processes_of_job(out);
    const auto kill_time = Clock::now();
    if (!living.empty()) ::kill(living[random() % living.size()], SIGKILL);
    job.join();
    INFO("output: ", result.output);
    if (result.exit_code == 0) {
      std::filesystem::remove_all(out);
      std::filesystem::create_directories(out);
      most_wait /= 2;
      continue;
    }
    ++killed;
    longest = std::max(longest, std::chrono::duration<double>(end - kill_time).count());
    CHECK(result.seconds < 30 * patience);
    CHECK(contains(result.output, "signal 9"));
  }
  MESSAGE("from a kill to the job's end: at most ", longest, " s");
  CHECK(killed == kills);
  CHECK(train_whole(processes.back(), out, run + Arguments{"--resume"}) == expected);
  // Who is killed while it writes leaves a temporary file, and whoever writes next takes it over.
  check_nothing_half_written(out);
}

}  // namespace gradus::test
