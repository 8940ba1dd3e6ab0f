// What the machine has to offer.
#pragma once

#include <cstdint>
#include <filesystem>

#include <gradus/tensor/device.h>

namespace gradus {

/// Bytes that this process may have in all: what is free for it beside what it has. On the CPU, of
/// the memory that Linux calls available, up to the control groups' limit.
std::uint64_t available_memory(Device device);

/// The memory limit, in bytes, of the control group (cgroup, version 2 or 1) that this process is
/// in and of those around it: the least; the largest number where there is none. `root` is the
/// folder in which proc and sys/fs/cgroup lie.
std::uint64_t control_group_limit(const std::filesystem::path& root = "/");

/// How many processors' time those control groups grant, as `docker run --cpus 2` does, rounded up;
/// the largest number where they grant all. More threads would be stopped in turns.
int granted_processors(const std::filesystem::path& root = "/");

/// The most memory of the CPU that this process has had at a time, in bytes.
std::uint64_t peak_resident_memory();

}  // namespace gradus
