// Step 5: copies while the tensor cores work.
//
// In step 4 a block either copies or multiplies. Here there are 3 stages, and copies are
// asynchronous (cp.async): they go from global to shared memory past the registers, and the thread
// that started one goes on. While stage s is multiplied, those of s + 1 and s + 2 are under way:
//
//   stage 0   copy 0 ------> multiply 0   copy 3 ------------> multiply 3
//   stage 1     copy 1 -----------------> multiply 1   copy 4 ------------> ...
//   stage 2                  copy 2 ------------------> multiply 2
#pragma once

#include "bench/conv_ladder/tile.cuh"

namespace gradus::conv_ladder {

constexpr int stages = 3;

/// sums = the warp's part of the block's tile.
__device__ __forceinline__ void pipelined_sums(const Problem& p, const BFloat16* input,
                                               const BFloat16* weight, Sums& sums) {
  using Chunk = cuda::Vector<std::uint32_t, 4>;
  const auto chunks = cuda::dynamic_shared<Chunk>(stages * stage_chunks);
  const cuda::SharedAddress first(&chunks[0]);
  const CopiedPixels copied(p, static_cast<int>(blockIdx.y) * m);
  const int steps = taps * p.C / step;
  const auto stage_of = [&](int index) {
    return first + static_cast<std::uint32_t>(index % stages * stage_chunks * chunk_bytes);
  };
  const auto fill = [&](int index) {
    if (index < steps) {
      const cuda::SharedAddress stage = stage_of(index);
      copy_step(p, input, weight, copied, index, [&](int place, const BFloat16* from, bool valid) {
        cuda::copy_async(stage + static_cast<std::uint32_t>(place * chunk_bytes), from, valid);
      });
    }
    cuda::commit_copies();  // a group, which may be empty, so that they can be counted
  };
  for (int index = 0; index < stages - 1; ++index) fill(index);
  for (int index = 0; index < steps; ++index) {
    cuda::wait_for_copies<stages - 2>();  // this thread's copies of this stage have arrived,
    __syncthreads();                      // and all others', and all have read the stage before,
    fill(index + stages - 1);             // which is filled again
    multiply_stage(stage_of(index), sums);
  }
  cuda::wait_for_copies<0>();
}

}  // namespace gradus::conv_ladder
