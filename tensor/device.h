// Where a tensor's memory lies.
#pragma once

#include <cstdint>
#include <string_view>

namespace gradus {

/// The back ends. A build without CUDA knows the name and says that it is not there.
enum class Device : std::uint8_t { cpu, cuda };

/// "cpu" or "cuda".
constexpr std::string_view name(Device device) { return device == Device::cpu ? "cpu" : "cuda"; }

}  // namespace gradus
