// What it costs that sums over processes keep their order: the fixed tree beside MPI_Allreduce.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include <fmt/format.h>

#include <gradus/tensor/check.h>
#include <gradus/tensor/communicator.h>
#include <gradus/tensor/ops.h>
#include "bench/timing.h"
#include "common/command_line.h"
#include "common/processes.h"
#include "common/program.h"

namespace {

using namespace gradus;

/// Seconds of a sum of float32 numbers over all processes, the slowest one's.
double time_sum(Communicator& communicator, Tensor& x) {
  communicator.barrier();
  const auto begin = std::chrono::steady_clock::now();
  communicator.all_reduce(x);
  const std::chrono::duration<double> own = std::chrono::steady_clock::now() - begin;
  const auto all = communicator.all_gather(from_vector<double>({own.count()}, {1}));
  const auto seconds = all.to_vector<double>();
  return *std::max_element(seconds.begin(), seconds.end());
}

/// Prints the median times of sums of 4 KiB, 16 KiB, ..., most_kib KiB, the two ways in turns.
void compare(Processes& processes, Communicator& communicator, std::int64_t most_kib, int repeats) {
  apps::print("{:>10} {:>12} {:>14} {:>7}   ({} processes, median of {})\n", "KiB", "tree, us",
              "Allreduce, us", "ratio", processes.size(), repeats);
  for (std::int64_t kib = 4; kib <= most_kib; kib *= 4) {
    Tensor x = ones({kib * 256});
    std::vector<double> tree, any;
    for (int repeat = -1; repeat < repeats; ++repeat) {  // the first one warms up
      for (std::vector<double>* times : {&tree, &any}) {
        x.fill(1);
        processes.allow_any_order(times == &any);
        const double seconds = time_sum(communicator, x);
        if (repeat >= 0) times->push_back(seconds);
      }
    }
    const double ours = bench::median(tree), theirs = bench::median(any);
    apps::print("{:>10} {:>12.1f} {:>14.1f} {:>7.2f}\n", kib, ours * 1e6, theirs * 1e6,
                ours / theirs);
  }
}

int run(int argc, char** argv, Processes* processes) {
  std::int64_t most_kib = 65536;
  int repeats = 21;
  apps::CommandLine app("Sums over a job's processes: in the fixed tree, and by MPI_Allreduce",
                        "all_reduce");
  apps::add_integer(app, "--most-kib", most_kib, "Of the largest sum", 4, 1 << 22);
  apps::add_integer(app, "--repeats", repeats, "Of each", 1, 1000000);
  if (!apps::parse_command_line(app, argc, argv)) return 0;
  check(processes != nullptr && processes->size() > 1, "all_reduce",
        "one process has nothing to add up; start several: mpirun -n 2 {}", argv[0]);
  run_members(1, processes, [&](Communicator& communicator) {
    compare(*processes, communicator, most_kib, repeats);
  });
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return apps::run_program("all_reduce", argv, [&] {
    const auto processes = launched_processes();
    return apps::run_in_job("all_reduce", processes.get(),
                            [&] { return run(argc, argv, processes.get()); });
  });
}
