// Where and how a program computes: the device, its threads, its precision.
#pragma once

#include <cstdint>
#include <string>

#include <gradus/tensor/device.h>
#include <gradus/tensor/dtype.h>
#include "common/choice.h"

namespace CLI {
class App;
}  // namespace CLI

namespace gradus::apps {

enum class DeviceName : std::uint8_t { automatic, cpu, cuda };
inline constexpr Choices<DeviceName, 3> device_names{
    {{DeviceName::automatic, "auto", "the GPU if one works"},
     {DeviceName::cpu, "cpu"},
     {DeviceName::cuda, "cuda"}}};

struct ComputeOptions {
  DeviceName device = DeviceName::automatic;
  bool bf16 = false;     ///< see activation_dtype
  bool tf32 = false;     ///< see allow_tf32 (tensor/device.h)
  bool winograd = true;  ///< see Conv2dOptions (tensor/ops.h)
  int threads = 0;       ///< of OpenMP; 0: all cores that are granted

  /// The type that a model's input is converted to; its layers' outputs then have it, too.
  DType activation_dtype() const { return bf16 ? DType::bfloat16 : DType::float32; }
};

void add_compute_options(CLI::App& app, ComputeOptions& options);

/// Sets the threads and TF32 (`bf16` and `winograd` are for the model: activation_dtype and
/// nn::use_winograd), and returns the device. `automatic` is the GPU if one works, and otherwise
/// the CPU, after a line that says why; throws Error if `cuda` does not work.
Device use(const ComputeOptions& options);

/// The device in words: "8 threads", or the GPU's name.
std::string device_text(Device device);
/// The precision in words: "bf16", "TF32" or "fp32".
std::string precision_text(const ComputeOptions& options, Device device);

}  // namespace gradus::apps
