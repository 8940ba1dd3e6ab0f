#include "common/processes.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include <omp.h>

#include "common/program.h"

namespace gradus::apps {

int run_in_job(const char* program, Processes* processes, const std::function<int()>& body) {
  if (processes == nullptr) return body();
  [[maybe_unused]] const auto* printed =
      processes->rank() == 0 ? stdout : std::freopen("/dev/null", "w", stdout);
  try {
    return body();
  } catch (const std::exception& error) {
    report_error(program, fmt::format("process {}: {}", processes->rank(), error_text(error)));
    processes->abort(1);
    return 1;
  }
}

namespace {

/// For process `rank` of the `size` on this machine.
void choose_gpu(int rank, int size, int gpus) {
  if (size <= 1 || rank < 0 || rank >= size) return;
  std::vector<std::string> listed;
  if (const char* list = std::getenv("CUDA_VISIBLE_DEVICES")) {
    std::istringstream text(list);
    for (std::string gpu; std::getline(text, gpu, ',');) listed.push_back(gpu);
    if (listed.size() <= 1) return;  // the launcher has chosen, or there shall be none
  } else {
    const int count = gpus > 0 ? gpus : size;
    for (int gpu = 0; gpu < count; ++gpu) listed.push_back(std::to_string(gpu));
  }
  // Where there are fewer GPUs than processes, neighbours share one.
  const int used = std::min(static_cast<int>(listed.size()), size);
  setenv("CUDA_VISIBLE_DEVICES", listed[static_cast<std::size_t>(rank * used / size)].c_str(), 1);
}

/// A variable that begins with a number; -1 where there is none.
int number_in_environment(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? -1 : std::atoi(text);
}

}  // namespace

void choose_gpu(int gpus) {
  struct Launcher {
    const char *rank, *size;
  };
  for (const auto& [rank, size] :
       {Launcher{"OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"},  // Open MPI
        Launcher{"MPI_LOCALRANKID", "MPI_LOCALNRANKS"},                        // MPICH
        Launcher{"SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"}})
    if (std::getenv(rank) != nullptr)
      return choose_gpu(number_in_environment(rank), number_in_environment(size), gpus);
}

void choose_gpu(const Processes& processes, int gpus) {
  choose_gpu(processes.local_rank(), processes.local_size(), gpus);
}

int gpu_count(const std::filesystem::path& root) {
  const auto count = [&](const char* folder, const auto& is_gpu) {
    std::error_code none;  // then the iterator is the end
    const std::filesystem::directory_iterator entries(root / folder, none);
    return static_cast<int>(std::count_if(begin(entries), end(entries), [&](const auto& entry) {
      return is_gpu(entry.path().filename().string());
    }));
  };
  // A sandbox may hide the first; the second are made when a first program uses the GPUs.
  const int listed = count("proc/driver/nvidia/gpus", [](const std::string&) { return true; });
  const int devices = count("dev", [](const std::string& name) {
    return name.starts_with("nvidia") && name.size() > 6 &&
           name.find_first_not_of("0123456789", 6) == std::string::npos;
  });
  return std::max(listed, devices);
}

int threads_of_each(const Processes* processes) {
  if (processes == nullptr || processes->local_size() == 1) return 0;
  const int usable = omp_get_num_procs();
  if (usable < static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN))) return 0;
  return std::max(1, usable / processes->local_size());
}

}  // namespace gradus::apps
