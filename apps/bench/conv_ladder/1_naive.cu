// Step 1: the definition, a thread for each output.
//
// Neighbouring threads make neighbouring channels of a pixel. All of a warp read the same element
// of the input, which is one request for 2 bytes; but of the weights each reads a row of its own, 9
// C elements apart: 32 sectors of 32 bytes for 64 bytes. Each multiply-add waits for two reads.
#include "bench/conv_ladder/ladder.h"

namespace gradus::conv_ladder {
namespace {

__global__ void naive_kernel(const BFloat16* input, const BFloat16* weight, BFloat16* output,
                             Problem p) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= p.pixels() * p.O) return;
  const Pixel pixel = pixel_of(p, i / p.O);
  const int o = i % p.O;
  float sum = 0;
  for (int tap = 0; tap < taps; ++tap) {
    const int from = input_offset(p, pixel, tap);
    if (from < 0) continue;
    for (int c = 0; c < p.C; ++c) {
      sum += read(input + from + c) * read(weight + (o * taps + tap) * p.C + c);
    }
  }
  output[i] = BFloat16(sum);
}

}  // namespace

void naive(const BFloat16* input, const BFloat16* weight, BFloat16* output, const Problem& p) {
  constexpr unsigned threads = 256;
  const auto outputs = static_cast<unsigned>(p.pixels() * p.O);
  cuda::launch("naive", naive_kernel, {dim3((outputs + threads - 1) / threads), dim3(threads)},
               work_of(p, cuda::Unit::fp32), input, weight, output, p);
}

}  // namespace gradus::conv_ladder
