// Pre-trains an encoder with VICReg: `train --help`.
#include <omp.h>

#include <algorithm>
#include <future>
#include <nlohmann/json.hpp>

#include <gradus/tensor/communicator.h>
#include "common/processes.h"
#include "common/program.h"
#include "vicreg/datasets.h"
#include "vicreg/same_run.h"
#include "vicreg/trainer.h"

namespace {

using namespace gradus;

/// What all processes are told, each by its own command line.
struct Command {
  bool trains = false;  ///< whether not only the help was asked for
  vicreg::TrainOptions options;
  std::string config;
  Device device = Device::cpu;
};

/// Threads, `members` a process, that compute one of options.shards parts each.
int members_of_each(const Command& command, int processes) {
  const int shards = command.options.shards, members = shards / processes;
  check(!command.options.dry_run || processes == 1, "train", "--dry-run is for one process; got {}",
        processes);
  check(members >= 1, "train", "{} processes cannot share --shards {}; give --shards {} or more",
        processes, shards, processes);
  check(
      members == 1 || command.device == Device::cpu, "train",
      "on a GPU each process computes one of the --shards {}; start {} processes, which may share "
      "GPUs, or give --device cpu",
      shards, shards);
  return members;
}

/// Reads the command line in this process: member of a group of all, one a process.
Command read(int argc, char** argv, Communicator& all, const Processes* processes) {
  Command command;
  all.first_then_others([&] {
    auto& compute = command.options.compute;
    command.trains = vicreg::parse_train_options(argc, argv, command.options, command.config);
    if (!command.trains) return;
    if (compute.threads == 0) compute.threads = apps::threads_of_each(processes);
    command.device = apps::use(compute);
    members_of_each(command, all.size());
  });
  vicreg::check_same(all, {{"help", !command.trains},
                           {"shards", command.options.shards},
                           {"device", name(command.device)}});
  return command;
}

int train(int argc, char** argv, Processes* processes) {
  Command command;
  if (processes != nullptr) apps::choose_gpu(*processes, apps::gpu_count());
  run_members(1, processes, [&](Communicator& all) { command = read(argc, argv, all, processes); });
  if (!command.trains) return 0;
  if (processes != nullptr) {
    processes->allow_any_order(command.options.unordered_sums);
    if (command.device == Device::cuda)
      apps::print("{} processes with a GPU; exchanges go through {}\n", processes->size(),
                  processes->gpu_link());
  }
  const int members = members_of_each(command, processes == nullptr ? 1 : processes->size());
  const int threads = std::max(1, omp_get_max_threads() / members);
  // Loaded by the first member that asks for it.
  const std::shared_future<data::Dataset> training_set =
      std::async(std::launch::deferred, vicreg::load_pretraining_set, command.options.data);
  int exit_code = 0;
  run_members(members, processes, [&](Communicator& communicator) {
    if (members > 1) omp_set_num_threads(threads);
    vicreg::Trainer trainer(command.options, command.config, command.device, communicator,
                            training_set);
    const int code = command.options.dry_run ? trainer.dry_run() : trainer.run();
    if (communicator.leads_process()) exit_code = code;
  });
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  return apps::run_program("train", argv, [&] {
    apps::ignore_closed_output();
    apps::choose_gpu(apps::gpu_count());
    const auto processes = launched_processes();
    return apps::run_in_job("train", processes.get(),
                            [&] { return train(argc, argv, processes.get()); });
  });
}
