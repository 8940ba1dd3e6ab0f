#include <gradus/tensor/device.h>

#include <gradus/tensor/check.h>
#include <gradus/tensor/system.h>
#include "tensor/backend/runtime.h"
#include "tensor/cpu/simd/level.h"

namespace gradus {

std::string_view cpu_instructions() { return cpu::simd::name(cpu::simd::level()); }

const std::string& cuda_unavailable_reason() { return cuda::unavailable_reason(); }

std::string cuda_device_description() { return cuda::device_description(); }

void synchronize(Device device) { GRADUS_BACKEND(device, synchronize()); }

void copy_bytes(void* to, Device to_device, const void* from, Device from_device,
                std::size_t bytes) {
  if (bytes == 0) return;
  if (to_device == from_device) {
    GRADUS_BACKEND(to_device, copy(to, from, bytes));
  } else if (to_device == Device::cuda) {
    cuda::copy_to_device(to, from, bytes);
  } else {
    cuda::copy_to_host(to, from, bytes);
  }
}

void allow_tf32(bool on) {
  if (cuda_available()) cuda::allow_tf32(on);
}

}  // namespace gradus
