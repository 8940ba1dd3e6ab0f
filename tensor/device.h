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
inline bool cuda_available() { return cuda_unavailable_reason().empty(); }
/// The GPU in words, as "NVIDIA H100 80GB HBM3 (79.1 GiB)"; cuda_available() must hold.
std::string cuda_device_description();

/// Waits until the device has done all work that it was given; at once for the CPU.
void synchronize(Device device);

/// Copies bytes between or within devices, in the order of the device's other work. Returns once
/// `from` may be reused, and for copies to the host once they are done.
void copy_bytes(void* to, Device to_device, const void* from, Device from_device,
                std::size_t bytes);

/// Whether float32 matrix products and convolutions on the GPU may round their inputs to TF32 (10
/// bits of significand) to use its tensor cores. Off at first; the CPU never does.
void allow_tf32(bool on);

/// By which of Winograd's algorithms F(m x m, 3x3) float32 and bfloat16 are convolved where the
/// kernel is 3x3, the stride 1 and the size pays: m = 4 (at first; a quarter of the
/// multiplications), 2 (1/2.25 of them, with rounding errors near those of plain sums; on the CPU
/// alone) or 0 (none).
///
/// The rounding error of a plain sum is relative to what an output sees. Winograd's is relative to
/// the largest input M of the output's whole tile, (m + 2) x (m + 2) pixels of all channels: up to
/// about 2^-24 a M S, with S the sum of the output's |weights| and a = 38 for m = 4, 4 for m = 2 (a
/// is the largest sum_f |A_kf G_fj B_fe| of tensor/backend/winograd_matrices.h, squared). One input
/// far above its neighbours thus blurs outputs that do not see it, and one that is not finite, or
/// whose transform overflows, makes all outputs of its tiles NaN.
void use_winograd(int output_side);
int winograd_output_side();

}  // namespace gradus
