// Step 6: what follows the convolution, while the sums are still in registers.
//
// Batch norm in evaluation and ReLU are max(0, scale x + shift): a kernel of its own (below) reads
// and writes the whole output once more, and takes as long as these bytes take. In the epilogue of
// the convolution it is two instructions a sum, on float32 that nobody has rounded. The library
// takes batch norm's mean and variance there, for training (implicit_gemm_rows.cuh).
#include "bench/conv_ladder/pipeline.cuh"

namespace gradus::conv_ladder {
namespace {

__global__ void __launch_bounds__(threads)
    fused_kernel(const BFloat16* input, const BFloat16* weight, const float* scale,
                 const float* shift, BFloat16* output, Problem p) {
  Sums sums = {};
  pipelined_sums(p, input, weight, sums);
  store(p, sums, output, [&](int o, float sum) { return max(0.0f, scale[o] * sum + shift[o]); });
}

// A thread takes 8 neighbouring channels of a pixel.
__global__ void scale_shift_relu_kernel(const BFloat16* x, const float* scale, const float* shift,
                                        BFloat16* output, Problem p) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) * chunk;
  if (i >= p.pixels() * p.O) return;
  auto values = cuda::load_vector<chunk>(x + i);
  for (int j = 0; j < chunk; ++j) {
    const int o = i % p.O + j;
    values[j] = BFloat16(max(0.0f, scale[o] * static_cast<float>(values[j]) + shift[o]));
  }
  cuda::store_vector(output + i, values);
}

}  // namespace

void fused(const BFloat16* input, const BFloat16* weight, const float* scale, const float* shift,
           BFloat16* output, const Problem& p) {
  const cuda::LaunchShape shape = shape_of(p, stages);
  cuda::allow_shared_bytes<fused_kernel>(shape.shared_bytes);
  cuda::launch("fused", fused_kernel, shape, work_of(p, cuda::Unit::bf16), input, weight, scale,
               shift, output, p);
}

void scale_shift_relu(const BFloat16* x, const float* scale, const float* shift, BFloat16* output,
                      const Problem& p) {
  constexpr unsigned block = 256;
  const auto vectors = static_cast<unsigned>(p.pixels() * p.O / chunk);
  cuda::launch("scale_shift_relu", scale_shift_relu_kernel,
               {dim3((vectors + block - 1) / block), dim3(block)},
               {.bytes = 2.0 * p.pixels() * p.O * sizeof(BFloat16)}, x, scale, shift, output, p);
}

}  // namespace gradus::conv_ladder
