#include <gradus/tensor/device.h>

#include <cstring>

#include <gradus/tensor/check.h>

#if defined(GRADUS_CUDA)
#include "tensor/cuda/runtime/runtime.h"
#endif

namespace gradus {

namespace {
int winograd_side = 4;
}

void use_winograd(int output_side) {
  check(output_side == 0 || output_side == 2 || output_side == 4, "use_winograd",
        "tiles must have 4 or 2 outputs a side, or 0 for none; got {}", output_side);
  winograd_side = output_side;
}

int winograd_output_side() { return winograd_side; }

#if defined(GRADUS_CUDA)

const std::string& cuda_unavailable_reason() { return cuda::unavailable_reason(); }

std::string cuda_device_description() { return cuda::device_description(); }

void synchronize(Device device) {
  if (device == Device::cuda) cuda::synchronize();
}

void copy_bytes(void* to, Device to_device, const void* from, Device from_device,
                std::size_t bytes) {
  if (bytes == 0) return;
  if (to_device == Device::cpu && from_device == Device::cpu) {
    std::memcpy(to, from, bytes);
  } else if (from_device == Device::cpu) {
    cuda::copy_to_device(to, from, bytes);
  } else if (to_device == Device::cpu) {
    cuda::copy_to_host(to, from, bytes);
  } else {
    cuda::copy_on_device(to, from, bytes);
  }
}

void allow_tf32(bool on) {
  if (cuda_available()) cuda::allow_tf32(on);
}

#else

namespace {
constexpr const char* no_cuda =
    "this build has no CUDA back end; build it where nvcc is found, or with -DGRADUS_CUDA=ON";
}  // namespace

const std::string& cuda_unavailable_reason() {
  static const std::string reason = no_cuda;
  return reason;
}

std::string cuda_device_description() { fail("device", "{}", no_cuda); }

void synchronize(Device) {}

void copy_bytes(void* to, Device to_device, const void* from, Device from_device,
                std::size_t bytes) {
  check(to_device == Device::cpu && from_device == Device::cpu, "device", "{}", no_cuda);
  if (bytes > 0) std::memcpy(to, from, bytes);
}

void allow_tf32(bool) {}

#endif

}  // namespace gradus
