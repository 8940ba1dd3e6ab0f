// Sets of vector instructions. The innermost kernels (inner_kernels.h) are compiled once for each,
// and the best one that the processor has is chosen when the program starts.
#pragma once

#include <string_view>
#include <vector>

namespace gradus::cpu::simd {

/// From least to most; each includes the ones before it.
enum class Level {
  generic,      ///< vectors of 128 bits, by what the whole program is compiled for
  avx2,         ///< 256 bits, fused multiply-add (x86-64-v3)
  avx512,       ///< 512 bits (x86-64-v4)
  avx512_bf16,  ///< and products of pairs of bfloat16
  amx,          ///< and of tiles of bfloat16, where the system permits them
};

std::string_view name(Level level);

/// What this build has and this processor can run, from least to most.
const std::vector<Level>& available_levels();

/// The level in use: the fastest available one (the highest; on Intel's processors without tiles
/// avx512 rather than avx512_bf16, whose products take twice float's time there), unless the
/// environment variable GRADUS_SIMD names another. Throws Error if it names one that is not
/// available.
Level level();

/// Changes it, for tests and comparisons, while no kernel runs. `level` must be available.
void set_level(Level level);

}  // namespace gradus::cpu::simd
