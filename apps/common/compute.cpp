#include "common/compute.h"

#include <omp.h>

#include <algorithm>
#include <cstdlib>

#include <gradus/tensor/system.h>
#include "common/command_line.h"
#include "common/program.h"

namespace gradus::apps {

void add_compute_options(CLI::App& app, ComputeOptions& o) {
  add_choice(app, "--device", o.device, device_names);
  add_switch(app, "--bf16,!--no-bf16", o.bf16,
             "Mixed precision: activations and products of bfloat16; weights, sums, statistics and "
             "loss of float32");
  add_switch(app, "--tf32,!--no-tf32", o.tf32,
             "On a GPU, round the inputs of float32 products to TF32");
  add_switch(app, "--winograd,!--no-winograd", o.winograd,
             "3x3 convolutions by Winograd's algorithm; otherwise plain sums: slower, with less "
             "rounding");
  apps::add_integer(app, "--threads", o.threads,
                    "Threads of the computation; 0: all cores, or as many as a container grants", 0,
                    4096);
}

Device use(const ComputeOptions& o) {
  if (o.threads > 0)
    omp_set_num_threads(o.threads);
  else if (std::getenv("OMP_NUM_THREADS") == nullptr)
    omp_set_num_threads(std::min(omp_get_max_threads(), granted_processors()));
  if (o.device == DeviceName::cpu) return Device::cpu;
  if (cuda_available()) {
    allow_tf32(o.tf32);
    return Device::cuda;
  }
  check(o.device == DeviceName::automatic, "device", "--device cuda: {}; on the CPU: --device cpu",
        cuda_unavailable_reason());
  print("on the CPU: {}\n", cuda_unavailable_reason());
  return Device::cpu;
}

std::string device_text(Device device) {
  return device == Device::cuda ? cuda_device_description()
                                : fmt::format("{} threads", omp_get_max_threads());
}

std::string precision_text(const ComputeOptions& o, Device device) {
  if (o.bf16) return "bf16";
  return o.tf32 && device == Device::cuda ? "TF32" : "fp32";
}

}  // namespace gradus::apps
