#include "common/version.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include <gradus/tensor/device.h>

namespace gradus::apps {

std::string version() { return fmt::format("{} (commit {})", GRADUS_VERSION, GRADUS_COMMIT); }

std::string version_text(const CLI::App& app) {
#ifdef __clang__
  const std::string compiler = "Clang " __clang_version__;
#else
  const std::string compiler = "GCC " __VERSION__;
#endif
  return fmt::format(
      "{} {}\n"
      "compiler: {}, {}\n"
      "CPU: kernels for {}; products by Gradus's own, of float64 by Eigen's\n"
      "GPU: {}\n",
      app.get_name(), version(), compiler, GRADUS_BUILD_TYPE, cpu_instructions(),
      cuda_available() ? cuda_device_description() + "; products by Gradus's own and cuBLAS's"
                       : "none: " + cuda_unavailable_reason());
}

}  // namespace gradus::apps
