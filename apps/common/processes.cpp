#include "common/processes.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <string>

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

void choose_gpu(const Processes* processes) {
  if (processes == nullptr || processes->local_size() == 1) return;
  const char* listed = std::getenv("CUDA_VISIBLE_DEVICES");
  std::string own = std::to_string(processes->local_rank());
  if (listed != nullptr) {
    std::string rest = listed;
    if (rest.find(',') == std::string::npos) return;  // the launcher has chosen
    for (int i = 0; i < processes->local_rank() && !rest.empty(); ++i)
      rest.erase(0, std::min(rest.find(','), rest.size() - 1) + 1);
    own = rest.substr(0, rest.find(','));
  }
  setenv("CUDA_VISIBLE_DEVICES", own.c_str(), 1);
}

int threads_of_each(const Processes* processes) {
  if (processes == nullptr || processes->local_size() == 1) return 0;
  const int usable = omp_get_num_procs();
  if (usable < static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN))) return 0;
  return std::max(1, usable / processes->local_size());
}

}  // namespace gradus::apps
