// What the machine has to offer.
#pragma once

#include <cstdint>
#include <string_view>

#include <gradus/tensor/device.h>

namespace gradus {

/// The level of vector instructions that the CPU's innermost kernels use, as "avx2" or
/// "avx512_bf16". The environment variable GRADUS_SIMD may name a lower one than the processor has.
std::string_view cpu_instructions();

/// Bytes that this process may have in all: what is free for it beside what it has. On the CPU, of
/// the memory that Linux calls available, up to the control group's limit.
std::uint64_t available_memory(Device device);

/// The most memory of the CPU that this process has had at a time, in bytes.
std::uint64_t peak_resident_memory();

}  // namespace gradus
