#include "common/processes.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iterator>
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

void choose_gpu(const Processes* processes, int gpus) {
  if (processes == nullptr || processes->local_size() == 1) return;
  std::vector<std::string> listed;
  if (const char* list = std::getenv("CUDA_VISIBLE_DEVICES")) {
    std::istringstream text(list);
    for (std::string gpu; std::getline(text, gpu, ',');) listed.push_back(gpu);
    if (listed.size() <= 1) return;  // the launcher has chosen, or there shall be none
  } else {
    const int count = gpus > 0 ? gpus : processes->local_size();
    for (int gpu = 0; gpu < count; ++gpu) listed.push_back(std::to_string(gpu));
  }
  // Where there are fewer GPUs than processes, neighbours share one.
  const auto size = static_cast<std::size_t>(processes->local_size());
  const auto own = static_cast<std::size_t>(processes->local_rank());
  const std::size_t used = std::min(listed.size(), size);
  setenv("CUDA_VISIBLE_DEVICES", listed[own * used / size].c_str(), 1);
}

int gpu_count() {
  std::error_code none;
  const std::filesystem::directory_iterator gpus("/proc/driver/nvidia/gpus", none);
  return none ? 0 : static_cast<int>(std::distance(begin(gpus), end(gpus)));
}

int threads_of_each(const Processes* processes) {
  if (processes == nullptr || processes->local_size() == 1) return 0;
  const int usable = omp_get_num_procs();
  if (usable < static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN))) return 0;
  return std::max(1, usable / processes->local_size());
}

}  // namespace gradus::apps
