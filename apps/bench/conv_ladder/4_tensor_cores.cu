// Step 4: the tensor cores, which multiply 16 x 16 by 16 x 8 with one instruction of a warp: 2,048
// multiply-adds, where a warp's 32 threads do 32.
//
// Now neighbouring threads copy neighbouring chunks, 8 to a row, so that each request is for whole
// sectors, and the numbers stay bfloat16 on their way. All that is new is in tile.cuh.
#include "bench/conv_ladder/tile.cuh"

namespace gradus::conv_ladder {
namespace {

__global__ void __launch_bounds__(threads)
    tensor_core_kernel(const BFloat16* input, const BFloat16* weight, BFloat16* output, Problem p) {
  using Chunk = cuda::Vector<BFloat16, chunk>;
  const auto chunks = cuda::dynamic_shared<Chunk>(stage_chunks);
  const cuda::SharedAddress stage(&chunks[0]);
  const CopiedPixels copied(p, static_cast<int>(blockIdx.y) * m);
  Sums sums = {};
  for (int index = 0; index < taps * p.C / step; ++index) {
    copy_step(p, input, weight, copied, index, [&](int place, const BFloat16* from, bool valid) {
      chunks[place] = valid ? cuda::load_vector<chunk>(from) : Chunk{};
    });
    __syncthreads();  // all is there
    multiply_stage(stage, sums);
    __syncthreads();  // all was read
  }
  store(p, sums, output, [](int, float sum) { return sum; });
}

}  // namespace

void tensor_cores(const BFloat16* input, const BFloat16* weight, BFloat16* output,
                  const Problem& p) {
  cuda::launch("tensor cores", tensor_core_kernel, shape_of(p, 1), work_of(p, cuda::Unit::bf16),
               input, weight, output, p);
}

}  // namespace gradus::conv_ladder
