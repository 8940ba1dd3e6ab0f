// Products of a warpgroup on the emulated GPU: stand-ins for tensor/cuda/warpgroup.h, where their
// meaning is told. Each lane makes its own sums, at once.
#pragma once

#include "tensor/cuda/emulator/tensor_core.h"

[[noreturn]] inline void __trap() { gradus::cuda::emulator::fault("__trap()"); }

namespace gradus::cuda {
namespace emulator {

/// Element (i, k) of a matrix, where i is a row of a or a column of b.
template <class E>
float matrix_element(MatrixDescriptor matrix, bool transposed, int i, int k) {
  constexpr int size = sizeof(E), row_elements = 128 / size;
  const auto field = [&](int shift) {
    return static_cast<std::uint32_t>(matrix.bits() >> shift & 0x3FFF) << 4;
  };
  const auto row = static_cast<std::uint32_t>(transposed ? k : i);
  const auto column = static_cast<std::uint32_t>(transposed ? i : k);
  std::uint32_t at = field(0) + row / 8 * field(32) + row % 8 * 128 + column % row_elements * size;
  if (transposed) at += column / row_elements * field(16);
  at ^= at / 128 % 8 * 16;
  const E value = dynamic_shared<E>(at / size + 1)[at / size];
  if constexpr (std::is_same_v<E, float>) {
    return cut_to_tf32(value);
  } else {
    return value;
  }
}

}  // namespace emulator

inline int warpgroup_index() { return static_cast<int>(threadIdx.x) / 128; }
inline void wait_at_barrier(int number, int threads,
                            std::source_location place = std::source_location::current()) {
  emulator::come_to_named_barrier(number, threads, true, place);
}
inline void pass_barrier(int number, int threads,
                         std::source_location place = std::source_location::current()) {
  emulator::come_to_named_barrier(number, threads, false, place);
}
inline void publish_copies() {}
inline void begin_products() {}
inline void commit_products() {}
template <int pending>
void wait_for_products() {}

template <class E, bool transposed, int columns>
void multiply_add(float (&c)[columns][4], MatrixDescriptor a, MatrixDescriptor b) {
  constexpr int depth = 32 / sizeof(E);
  const int lane = emulator::lane(), warp = static_cast<int>(threadIdx.x) / 32 % 4;
  for (int half = 0; half < 2; ++half) {
    float row[depth];
    for (int k = 0; k < depth; ++k) {
      row[k] = emulator::matrix_element<E>(a, transposed, warp * 16 + lane / 4 + half * 8, k);
    }
    for (int column = 0; column < columns * 2; ++column) {
      float& sum = c[column / 2][half * 2 + column % 2];
      for (int k = 0; k < depth; ++k) {
        const int n = column / 2 * 8 + lane % 4 * 2 + column % 2;
        sum += row[k] * emulator::matrix_element<E>(b, transposed, n, k);
      }
    }
  }
}

inline void multiply_add(float (&c)[8][4], const std::uint32_t (&a)[4], MatrixDescriptor b) {
  for (int j = 0; j < 8; ++j) {
    const auto word = [&](int k) {
      return std::bit_cast<std::uint32_t>(
          emulator::matrix_element<float>(b, false, j * 8 + emulator::lane() / 4, k));
    };
    multiply_add<float>(c[j], a, word(emulator::lane() % 4), word(emulator::lane() % 4 + 4));
  }
}

}  // namespace gradus::cuda
