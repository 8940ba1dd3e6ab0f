// The shared memory of the running block: how much there is, its bytes, and what is known of them.
#include "tensor/cuda/emulator/shared_array.h"

#include <array>

#include <gradus/tensor/check.h>
#include "tensor/cuda/emulator/scheduler.h"

namespace gradus::cuda::emulator {
namespace {

alignas(1024) std::array<unsigned char, most_shared_bytes> dynamic_data;
std::array<ByteState, most_shared_bytes> dynamic_states;
std::size_t dynamic_bytes = 0, static_bytes = 0;
std::size_t most_bytes = 0;  // of both together

}  // namespace

void start_shared_memory(std::size_t bytes, std::size_t limit) {
  ++block_number;
  dynamic_bytes = bytes;
  static_bytes = 0;
  most_bytes = limit;
  std::fill_n(dynamic_states.begin(), bytes, ByteState::unwritten);
  std::memset(dynamic_data.data(), 0xFF, bytes);
}

DynamicShared dynamic_shared_memory(std::int64_t bytes) {
  if (bytes < 0 || static_cast<std::size_t>(bytes) > dynamic_bytes) {
    fault(fmt::format("{} bytes of dynamic shared memory are used, but the launch gave {}", bytes,
                      dynamic_bytes));
  }
  return {dynamic_data.data(), dynamic_states.data(), dynamic_bytes};
}

void add_static_shared(std::size_t bytes) {
  static_bytes += bytes;
  if (static_bytes > default_shared_bytes || static_bytes + dynamic_bytes > most_bytes) {
    fault(fmt::format("{} bytes of static and {} of dynamic shared memory are beyond {}",
                      static_bytes, dynamic_bytes, most_bytes));
  }
}

void fault_shared_index(std::int64_t index, std::int64_t size) {
  fault(fmt::format("shared memory index {} is outside of {} elements", index, size));
}
void fault_shared_access(std::int64_t index, ByteState state, bool is_write) {
  fault(fmt::format("shared memory is {} at index {} {}", is_write ? "written" : "read", index,
                    state == ByteState::under_way ? "while a copy_async to it is under way"
                                                  : "before this block wrote it"));
}
void fault_misaligned(const void* address, std::size_t alignment) {
  fault(fmt::format("an access of {} bytes at {} is not aligned to them", alignment, address));
}

}  // namespace gradus::cuda::emulator
