// Tensor cores and asynchronous copies on the emulated GPU: stand-ins for
// tensor/cuda/tensor_core.h, where their meaning is told.
//
// A matrix operation is carried out once for a warp, when its last lane has come. A copy is seen
// when its thread waits for it; until then its bytes hold NaN, and whoever reads or writes them is
// reported.
#pragma once

#include <bit>
#include <cstdint>
#include <source_location>

#include <gradus/tensor/bfloat16.h>
#include "tensor/cuda/emulator/shared_array.h"

namespace gradus::cuda {
namespace emulator {

/// Where p lies in the launch's dynamic shared memory; faults outside. Static shared memory is left
/// out, since a GPU aligns it only to its elements.
std::uint32_t shared_offset(const void* p);

/// What the tensor cores take of x: TF32's 10 bits of mantissa, the others dropped.
inline float cut_to_tf32(float x) {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) & ~0x1FFFu);
}

/// Lets this thread's copies land but for the groups that it ended last, `pending` of them.
void finish_copies(int pending);

}  // namespace emulator

struct SharedAddress {
  std::uint32_t value;
  SharedAddress() = default;
  explicit SharedAddress(const void* p) : value(emulator::shared_offset(p)) {}
  friend SharedAddress operator+(SharedAddress a, std::uint32_t bytes) {
    a.value += bytes;
    return a;
  }
};

void copy_async(SharedAddress to, const void* from, bool valid);
void commit_copies();
template <int pending>
void wait_for_copies() {
  static_assert(pending >= 0);
  emulator::finish_copies(pending);
}

void load_matrices(std::uint32_t (&r)[4], SharedAddress row,
                   std::source_location place = std::source_location::current());
void load_matrices_transposed(std::uint32_t (&r)[4], SharedAddress row,
                              std::source_location place = std::source_location::current());
/// E is BFloat16 or float.
template <class E>
void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                  std::source_location place = std::source_location::current());

float round_to_tf32(float x);

}  // namespace gradus::cuda
