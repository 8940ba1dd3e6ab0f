// Stands in for cuRAND's header of this name: its Philox generator, by ours.
#pragma once

#include <cuda_runtime.h>

#include <gradus/tensor/philox.h>

/// Philox4x32-10 of a counter and a key, both with their low words first (x).
inline uint4 curand_Philox4x32_10(uint4 counter, uint2 key) {
  const auto join = [](unsigned low, unsigned high) { return std::uint64_t{high} << 32 | low; };
  const gradus::PhiloxBlock block =
      gradus::philox(join(key.x, key.y), join(counter.x, counter.y), join(counter.z, counter.w));
  return {block.word[0], block.word[1], block.word[2], block.word[3]};
}
