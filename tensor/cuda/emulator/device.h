// Shared memory that is checked: the emulator's half of tensor/cuda/device.h.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

namespace gradus::cuda {
namespace emulator {

/// Counts the blocks that have run: what was written under another number is not there any more.
inline constinit std::uint64_t block_number = 0;

/// Dynamic shared memory of the running block, and a flag a byte: 1 once it was written.
struct DynamicShared {
  unsigned char* data;
  unsigned char* written;
};
/// Faults unless the launch gave `bytes`.
DynamicShared dynamic_shared_memory(std::int64_t bytes);

/// Counts static shared memory of the running block; faults beyond the device's limit.
void add_static_shared(std::size_t bytes);
[[noreturn]] void fault_shared_index(std::int64_t index, std::int64_t size);
[[noreturn]] void fault_shared_unwritten(std::int64_t index);
[[noreturn]] void fault_misaligned(const void* address, std::size_t alignment);

/// An element of shared memory: reads check that this block wrote it. It cannot be kept:
/// `auto x = partial[0]` would be the element, not its value; write the type.
template <class T>
class SharedElement {
 public:
  SharedElement(T* value, unsigned char* written, std::int64_t index)
      : value_(value), written_(written), index_(index) {}
  SharedElement(const SharedElement&) = delete;

  operator T() && { return read(); }
  template <class U>
  requires(std::is_class_v<T>&& std::is_arithmetic_v<U>&& std::is_convertible_v<T, U>)
  operator U() && {
    return static_cast<U>(read());
  }
  /// For atomic operations; counts as written.
  T* operator&() && {
    mark();
    return value_;
  }
  T operator=(const T& x) && { return write(x); }
  T operator=(SharedElement&& other) && { return write(other.read()); }
  template <class U>
  T operator+=(const U& x) && {
    return write(static_cast<T>(read() + x));
  }
  template <class U>
  T operator-=(const U& x) && {
    return write(static_cast<T>(read() - x));
  }
  template <class U>
  T operator*=(const U& x) && {
    return write(static_cast<T>(read() * x));
  }
  T operator+=(SharedElement&& other) && { return write(static_cast<T>(read() + other.read())); }
  T operator-=(SharedElement&& other) && { return write(static_cast<T>(read() - other.read())); }
  T operator*=(SharedElement&& other) && { return write(static_cast<T>(read() * other.read())); }

 private:
  T read() const {
    if (!written_[0] || !written_[sizeof(T) - 1]) fault_shared_unwritten(index_);
    return *value_;
  }
  T write(const T& x) {
    mark();
    return *value_ = x;
  }
  void mark() { std::memset(written_, 1, sizeof(T)); }

  T* value_;
  unsigned char* written_;
  std::int64_t index_;
};

}  // namespace emulator

/// Shared memory of a fixed size: `__shared__ SharedArray<float, 256> partial;`
template <class T, int size>
class SharedArray {
 public:
  static_assert(size > 0 && sizeof(T) * size <= 48 * 1024, "static shared memory ends at 48 KiB");

  emulator::SharedElement<T> operator[](std::int64_t i) {
    if (i < 0 || i >= size) emulator::fault_shared_index(i, size);
    if (block_ != emulator::block_number) start_block();
    return {data_ + i, written_ + i * sizeof(T), i};
  }

 private:
  void start_block() {
    block_ = emulator::block_number;
    emulator::add_static_shared(sizeof(data_));
    std::memset(static_cast<void*>(data_), 0xFF, sizeof(data_));
    std::memset(written_, 0, sizeof(written_));
  }

  alignas(16) T data_[size];
  unsigned char written_[size * sizeof(T)];
  std::uint64_t block_;
};

/// The shared memory that the launch gave (its shared_bytes), as elements of T.
template <class T>
class DynamicSharedArray {
 public:
  explicit DynamicSharedArray(std::int64_t size)
      : size_(size), memory_(emulator::dynamic_shared_memory(size * std::int64_t{sizeof(T)})) {}
  emulator::SharedElement<T> operator[](std::int64_t i) const {
    if (i < 0 || i >= size_) emulator::fault_shared_index(i, size_);
    return {reinterpret_cast<T*>(memory_.data) + i, memory_.written + i * sizeof(T), i};
  }

 private:
  std::int64_t size_;
  emulator::DynamicShared memory_;
};

/// `auto tile = dynamic_shared<float>(count);` with a launch of at least count * sizeof(T) bytes.
template <class T>
DynamicSharedArray<T> dynamic_shared(std::int64_t count) {
  return DynamicSharedArray<T>(count);
}

namespace detail {

/// Faults unless p is aligned for V, as a GPU's wide loads and stores need it.
template <class V>
void require_aligned(const void* p) {
  if (reinterpret_cast<std::uintptr_t>(p) % alignof(V) != 0) {
    emulator::fault_misaligned(p, alignof(V));
  }
}

}  // namespace detail
}  // namespace gradus::cuda
