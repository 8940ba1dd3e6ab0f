// Shared memory that is checked: the emulator's half of tensor/cuda/shared_array.h.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "tensor/cuda/emulator/counters.h"

namespace gradus::cuda {
namespace emulator {

/// Counts the blocks that have run: what was written under another number is not there any more.
inline constinit std::uint64_t block_number = 0;

/// What is known of a byte of shared memory. `under_way`: a copy_async to it was not waited for
/// yet.
enum class ByteState : unsigned char { unwritten, written, under_way };

/// Dynamic shared memory of the running block, all that the launch gave.
struct DynamicShared {
  unsigned char* data;
  ByteState* states;  // one a byte
  std::size_t size;
};
/// Faults unless the launch gave `bytes`.
DynamicShared dynamic_shared_memory(std::int64_t bytes);

/// Counts static shared memory of the running block; faults beyond the device's limit.
void add_static_shared(std::size_t bytes);
[[noreturn]] void fault_shared_index(std::int64_t index, std::int64_t size);
/// A read of bytes that are not written yet, or a write to bytes that a copy_async will write.
[[noreturn]] void fault_shared_access(std::int64_t index, ByteState state, bool is_write);
[[noreturn]] void fault_misaligned(const void* address, std::size_t alignment);

/// An element of shared memory: reads check that this block wrote it. It cannot be kept:
/// `auto x = partial[0]` would be the element, not its value; write the type.
template <class T>
class SharedElement {
 public:
  SharedElement(T* value, ByteState* states, std::int64_t index)
      : value_(value), states_(states), index_(index) {}
  SharedElement(const SharedElement&) = delete;

  operator T() && { return read(); }
  template <class U>
  requires(std::is_class_v<T>&& std::is_arithmetic_v<U>&& std::is_convertible_v<T, U>)
  operator U() && {
    return static_cast<U>(read());
  }
  /// For atomic operations, so that it counts as written; and for a SharedAddress, which may be
  /// taken while a copy is under way.
  T* operator&() && {
    if (first() != ByteState::under_way) mark();
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
    for (const ByteState state : {first(), last()}) {
      if (state != ByteState::written) fault_shared_access(index_, state, false);
    }
    count(false);
    return *value_;
  }
  T write(const T& x) {
    for (const ByteState state : {first(), last()}) {
      if (state == ByteState::under_way) fault_shared_access(index_, state, true);
    }
    count(true);
    mark();
    return *value_ = x;
  }
  void mark() { std::fill_n(states_, sizeof(T), ByteState::written); }
  void count(bool is_write) const {
    count_shared_access(static_cast<std::uint64_t>(index_) * sizeof(T), sizeof(T));
    count_shared_element(value_, is_write);
  }
  ByteState first() const { return states_[0]; }
  ByteState last() const { return states_[sizeof(T) - 1]; }

  T* value_;
  ByteState* states_;
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
    return {data_ + i, states_ + i * sizeof(T), i};
  }

 private:
  void start_block() {
    block_ = emulator::block_number;
    emulator::add_static_shared(sizeof(data_));
    std::memset(static_cast<void*>(data_), 0xFF, sizeof(data_));
    std::memset(states_, 0, sizeof(states_));
  }

  alignas(16) T data_[size];
  emulator::ByteState states_[size * sizeof(T)];
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
    return {reinterpret_cast<T*>(memory_.data) + i, memory_.states + i * sizeof(T), i};
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

/// Faults unless p is aligned for V, as a GPU's wide loads and stores need it; counts the access.
template <class V>
void require_aligned(const void* p) {
  if (reinterpret_cast<std::uintptr_t>(p) % alignof(V) != 0) {
    emulator::fault_misaligned(p, alignof(V));
  }
  emulator::count_global_access(p, sizeof(V));
}

}  // namespace detail
}  // namespace gradus::cuda
