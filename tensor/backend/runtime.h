// The contract of a back end besides its kernels. Without CUDA, that of the GPU is there, too
// (no_cuda.cpp), and says so. No fmt here: nvcc reads this header.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gradus/tensor/storage.h>

namespace gradus {
class Processes;                    // tensor/communicator.h
enum class Channel : std::uint8_t;  // there, too
}  // namespace gradus

namespace gradus::cpu {
#include "tensor/backend/runtime.inc"
}  // namespace gradus::cpu

namespace gradus::cuda {
#include "tensor/backend/runtime.inc"

// --- what GPUs alone have ---
/// Why the GPU cannot be used; empty if it can. Looked up once.
const std::string& unavailable_reason();
std::string device_description();
/// Bytes that the driver could still give.
std::size_t free_memory();
/// Returns once `from` may be reused; can't be recorded.
void copy_to_device(void* to, const void* from, std::size_t bytes);
/// Returns once the bytes are there; can't be recorded.
void copy_to_host(void* to, const void* from, std::size_t bytes);
/// Begins a branch of the graph that is recorded, after what was launched before and after the
/// branch before it; from now on launches go to it. It holds `reads` until it is joined. False, and
/// nothing happens, within another branch.
bool begin_beside(std::vector<std::shared_ptr<const Storage>> reads);
/// Launches no longer go to the branch: what follows may run at the same time.
void end_beside() noexcept;
/// What follows comes after the branch, if there is one that was not joined.
void join_beside() noexcept;
/// From now on launches go to the stream of exchanges, after what was launched before: exchanges
/// with other processes, and what is done with what they bring. No memory may be allocated or freed
/// there.
void begin_exchanges();
/// Launches no longer go there: what follows may run at the same time.
void end_exchanges() noexcept;
/// What follows comes after the exchanges that were begun so far.
void join_exchanges() noexcept;
/// Exchanges memory of the GPU with another process, through the host's, in the order of the stream
/// that launches go to; can be recorded.
void exchange_through_host(Processes& processes, int partner, std::span<const std::byte> sent,
                           std::span<std::byte> received);
/// 16 bytes that no other GPU has.
std::array<std::byte, 16> gpu_identity();
/// Whether float32 products may round their inputs to TF32 (10 bits) for the tensor cores.
void allow_tf32(bool on);
/// Where ncu --profile-from-start off begins.
void start_profiler();
}  // namespace gradus::cuda

/// What the back end of a device has: GRADUS_BACKEND(device, memory_stats()).
#define GRADUS_BACKEND(device_, ...) \
  ((device_) == ::gradus::Device::cuda ? ::gradus::cuda::__VA_ARGS__ : ::gradus::cpu::__VA_ARGS__)
