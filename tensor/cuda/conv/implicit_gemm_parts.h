// Gradients of weights by parts: different blocks sum over different pixels, and the parts are
// added in order. Internal to tensor/cuda.
#pragma once

#include <gradus/tensor/bfloat16.h>
#include "tensor/cuda/runtime/runtime.h"

namespace gradus::cuda::implicit_gemm {

/// Multiplications and additions a second of an H200, about.
template <class E>
constexpr double flop_rate = std::is_same_v<E, BFloat16> ? 400e12 : 200e12;

/// Into how many parts the pixels are cut: for the time of products and sums together, on a GPU
/// that runs `at_once` blocks at a time. The products take whole rounds of blocks; each part's sums
/// are written and read.
int parts_for(std::int64_t tiles, std::int64_t at_once, std::int64_t steps,
              double seconds_of_products, double weights);

/// sum [count] = the sum of parts [parts, count] in a fixed order; count is a multiple of 4.
void sum_parts(const float* parts, float* sum, std::int64_t count, int number_of_parts);

/// dweight [weights] as a sum of parts: start(sums, parts, work) starts the kernel that writes
/// those, sums [parts, weights], which is dweight itself where there is one. `work` is that of all
/// products, to which what the parts move is added.
template <class Start>
void sum_by_parts(float* dweight, std::int64_t weights, Work work, int parts, const Start& start) {
  const auto part_bytes = static_cast<double>(parts * weights) * sizeof(float);
  (parts > 1 ? work.cached_bytes : work.bytes) += part_bytes;
  const Scratch<float> sums(parts > 1 ? parts * weights : 0);
  start(parts > 1 ? sums.data() : dweight, static_cast<unsigned>(parts), work);
  if (parts > 1) sum_parts(sums.data(), dweight, weights, parts);
}

}  // namespace gradus::cuda::implicit_gemm
