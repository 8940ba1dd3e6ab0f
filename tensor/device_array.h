// DeviceArray: plain structs in a device's memory.
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include <gradus/tensor/tensor.h>

namespace gradus {

/// Structs that the host writes and kernels read or change, for what is no tensor of numbers.
template <class T>
class DeviceArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  /// Empty, and without memory before assign(): data() and to_vector() throw Error.
  DeviceArray() = default;
  DeviceArray(const std::vector<T>& values, Device device) { assign(values, device); }

  /// Overwrites all values. As long as their number and the device stay the same, so does their
  /// address, as captured work needs it.
  void assign(std::span<const T> values, Device device) {
    const Shape shape{static_cast<std::int64_t>(values.size_bytes())};
    const std::span bytes(reinterpret_cast<const std::uint8_t*>(values.data()),
                          values.size_bytes());
    if (!bytes_.defined() || bytes_.shape() != shape || bytes_.device() != device)
      bytes_ = empty(shape, {DType::uint8, device});
    bytes_.copy_from(from_span(bytes, shape));
  }

  /// Number of structs.
  std::int64_t size() const {
    return bytes_.defined() ? bytes_.numel() / static_cast<std::int64_t>(sizeof(T)) : 0;
  }
  Device device() const { return bytes_.device(); }
  /// Address of the first one, on the device.
  T* data() { return reinterpret_cast<T*>(bytes_.data<std::uint8_t>()); }
  const T* data() const { return reinterpret_cast<const T*>(bytes_.data<std::uint8_t>()); }
  /// A copy on the host; waits for the device.
  std::vector<T> to_vector() const {
    const std::vector<std::uint8_t> bytes = bytes_.to_vector<std::uint8_t>();
    const auto* values = reinterpret_cast<const T*>(bytes.data());
    return {values, values + size()};
  }

 private:
  Tensor bytes_;  // uint8
};

}  // namespace gradus
