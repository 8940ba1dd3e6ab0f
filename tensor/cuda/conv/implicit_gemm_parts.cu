#include "tensor/cuda/conv/implicit_gemm_parts.h"

#include <algorithm>

#include "tensor/cuda/runtime/launch.h"
#include "tensor/cuda/warp.h"

namespace gradus::cuda::implicit_gemm {
namespace {

constexpr int range_count = 8, sum_size = 4;

// sum [4 vectors] = the sum of parts [parts, 4 vectors] in a fixed order: 8 ranges of parts, each
// in order, by the warps of a block, and then these. A lane takes 4 neighbouring elements.
__global__ void __launch_bounds__(warp* range_count)
    sum_parts_kernel(const float* __restrict__ parts, float* __restrict__ sum, int vectors,
                     int count) {
  __shared__ SharedArray<Vector<float, sum_size>, range_count * warp> ranges;
  const int lane = static_cast<int>(threadIdx.x) % warp;
  const int range = static_cast<int>(threadIdx.x) / warp;
  const int vector = static_cast<int>(blockIdx.x) * warp + lane;
  Vector<float, sum_size> total{};
  if (vector < vectors) {
#pragma unroll 8
    for (int part = count * range / range_count; part < count * (range + 1) / range_count; ++part) {
      const auto values =
          load_vector<sum_size>(parts + (std::int64_t{part} * vectors + vector) * sum_size);
      for (int i = 0; i < sum_size; ++i) total[i] += values[i];
    }
  }
  ranges[static_cast<int>(threadIdx.x)] = total;
  __syncthreads();
  if (range != 0 || vector >= vectors) return;
  for (int other = 1; other < range_count; ++other) {
    const Vector<float, sum_size> values = ranges[other * warp + lane];
    for (int i = 0; i < sum_size; ++i) total[i] += values[i];
  }
  store_vector(sum + std::int64_t{vector} * sum_size, total);
}

}  // namespace

void sum_parts(const float* parts, float* sum, std::int64_t count, int number_of_parts) {
  const std::int64_t vectors = count / sum_size;
  const double bytes = static_cast<double>(count) * sizeof(float);
  launch("conv weight parts", sum_parts_kernel,
         {dim3(static_cast<unsigned>(divide_up(vectors, warp))), dim3(warp * range_count)},
         {.bytes = bytes, .cached_bytes = bytes * number_of_parts}, parts, sum,
         static_cast<int>(vectors), number_of_parts);
}

int parts_for(std::int64_t tiles, std::int64_t at_once, std::int64_t steps,
              double seconds_of_products, double weights) {
  constexpr double byte_rate = 2.5e12;  // of an H200, about
  constexpr std::int64_t most_parts = 512;
  constexpr double most_bytes = 64 << 20;  // of all parts
  const auto fit = static_cast<std::int64_t>(most_bytes / (weights * sizeof(float)));
  const std::int64_t most = std::max<std::int64_t>(1, std::min({steps, most_parts, fit}));
  int best = 1;
  double least = 0;
  for (std::int64_t parts = 1; parts <= most; ++parts) {
    const auto rounds = static_cast<double>(divide_up(tiles * parts, at_once) * at_once);
    const double products = seconds_of_products * rounds / static_cast<double>(tiles * parts);
    const double sums = parts > 1 ? 2 * static_cast<double>(parts) * weights * sizeof(float) : 0;
    const double seconds = products + sums / byte_rate;
    if (parts > 1 && seconds >= least * 0.999) continue;  // fewer parts where it hardly matters
    least = seconds;
    best = static_cast<int>(parts);
  }
  return best;
}

}  // namespace gradus::cuda::implicit_gemm
