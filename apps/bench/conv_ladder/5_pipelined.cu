// Step 5: copies while the tensor cores work. The loop is in pipeline.cuh.
#include "bench/conv_ladder/pipeline.cuh"

namespace gradus::conv_ladder {
namespace {

__global__ void __launch_bounds__(threads)
    pipelined_kernel(const BFloat16* input, const BFloat16* weight, BFloat16* output, Problem p) {
  Sums sums = {};
  pipelined_sums(p, input, weight, sums);
  store(p, sums, output, [](int, float sum) { return sum; });
}

}  // namespace

void pipelined(const BFloat16* input, const BFloat16* weight, BFloat16* output, const Problem& p) {
  const cuda::LaunchShape shape = shape_of(p, stages);
  cuda::allow_shared_bytes<pipelined_kernel>(shape.shared_bytes);
  cuda::launch("pipelined", pipelined_kernel, shape, work_of(p, cuda::Unit::bf16), input, weight,
               output, p);
}

}  // namespace gradus::conv_ladder
