// Where a tensor's memory lies, and whether a GPU can be used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace gradus {

/// The back ends. A build without CUDA knows the name and says that it is not there.
enum class Device : std::uint8_t { cpu, cuda };

/// "cpu" or "cuda".
constexpr std::string_view name(Device device) { return device == Device::cpu ? "cpu" : "cuda"; }

/// Why Device::cuda cannot be used: the build has no CUDA, there is no driver or it is too old,
/// there is no GPU or it is too old; empty if it works. Looked up once.
const std::string& cuda_unavailable_reason();
/// Whether Device::cuda can be used.
inline bool cuda_available() { return cuda_unavailable_reason().empty(); }
/// The GPU in words, as "NVIDIA H100 80GB HBM3 (79.2 GiB, compute capability 9.0)";
/// cuda_available() must hold.
std::string cuda_device_description();

/// The vector instructions that the CPU's kernels were picked for: "generic", "avx2", "avx512",
/// "avx512_bf16" or "amx". Results with different ones differ in their last digits.
std::string_view cpu_instructions();

/// Waits until the device has done all work that it was given; at once for the CPU.
void synchronize(Device device);

/// Copies bytes between or within devices, in the order of the device's other work. Returns once
/// `from` may be reused, and for copies to the host once they are done.
void copy_bytes(void* to, Device to_device, const void* from, Device from_device,
                std::size_t bytes);

/// Whether float32 matrix products and convolutions on the GPU may round their inputs to TF32 (10
/// bits of significand) to use its tensor cores. Off at first; without a GPU it means nothing.
void allow_tf32(bool on);

}  // namespace gradus
