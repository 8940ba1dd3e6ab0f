// The gradient of the weights: dweight [O, taps C] = doutput^T columns, where the columns are
// gathered as they are forward. The sums run over all pixels of the batch and dweight is small, so
// that the pixels are cut into parts, which different blocks sum; the parts are added in order, and
// results repeat bit by bit.
#include <algorithm>

#include "tensor/backend/instantiate.h"
#include "tensor/cuda/conv/implicit_gemm.h"
#include "tensor/cuda/conv/implicit_gemm_panels.cuh"
#include "tensor/cuda/conv/implicit_gemm_parts.h"
#include "tensor/cuda/conv/implicit_gemm_windows.h"
#include "tensor/cuda/runtime/launch.h"

namespace gradus::cuda::implicit_gemm {
namespace {

// sums [parts, O, kernel, kernel, C] over the pixels of each part (blockIdx.y): doutput [pixels, O]
// of a pixel times what each tap reads of input [N, H, W, C] for it. A block makes T::m outputs and
// T::n columns, each panel of which belongs to one tap.
template <class T>
__global__ void __launch_bounds__(T::threads, T::blocks)
    weight_gradient_kernel(const typename T::Element* __restrict__ input,
                           const typename T::Element* __restrict__ doutput,
                           float* __restrict__ sums_of_parts, const Problem p) {
  const int columns = p.kernel * p.kernel * p.C;
  const auto across = static_cast<unsigned>(columns / T::n);
  const int first_output = static_cast<int>(blockIdx.x / across) * T::m;
  const int first_column = static_cast<int>(blockIdx.x % across) * T::n;
  const std::int64_t steps = divide_up(std::int64_t{p.pixels}, T::step_k);  // of all parts
  const auto first_step = static_cast<int>(steps * blockIdx.y / gridDim.y);
  const auto end_step = static_cast<int>(steps * (blockIdx.y + 1) / gridDim.y);

  const SharedAddress stages = stages_of_block<T>();
  const int first_pixel = first_step * T::step_k;
  Sums<T> sums = {};
  PixelCopies<T> copies(p, input, doutput, first_output, first_column, first_pixel, stages);
  if constexpr (T::warpgroups) {
    multiply_by_warpgroups<T, true>(end_step - first_step, copies, stages, sums);
  } else {
    multiply<T>(end_step - first_step, copies, PanelFragments<T>(stages), sums);
  }

  const WarpPlace<T> place;
  const std::int64_t first_row = std::int64_t{blockIdx.y} * p.O + first_output + place.row;
  float* const to = sums_of_parts + (first_row + place.lane / 4) * columns + first_column +
                    place.column + place.lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < T::fragments_m; ++i) {
#pragma unroll
    for (int j = 0; j < 2 * T::fragments_n; ++j) {
      float* const at = to + std::int64_t{i} * 16 * columns + j * 8;
      const auto& sum = sums[i][j];
      store_vector(at, Vector<float, 2>{{sum[0], sum[1]}});
      store_vector(at + std::int64_t{8} * columns, Vector<float, 2>{{sum[2], sum[3]}});
    }
  }
}

// --- launchers ----------------------------------------------------------------------------------

// Microseconds of a layer's gradient of the weights from 512 images on an H200, by tile (outputs x
// columns); * by warpgroups:
//
//   kernel/stride  channels     image   128 x 128   64 x 192   128 x 64   * 128 x 192   * 128 x 256
//   3x3/1           64 ->  64      32           -        135          -             -             -
//   3x3/1          128 -> 128      16         120        133          -            80             -
//   3x3/1          256 -> 256       8         124        146          -            84            78
//   3x3/1          512 -> 512       4         155        155          -           103           103
//   3x3/2           64 -> 128      32           -         72          -            50             -
//   3x3/2          128 -> 256      16          68         72          -            48             -
//   3x3/2          256 -> 512       8          79         86          -            59            54
//   1x1/2           64 -> 128      32           -          -         24             -             -
//   1x1/2          128 -> 256      16          21          -         18             -             -
//   1x1/2          256 -> 512       8          20          -         18             -             -
//
// 64 x 64 is for what the others do not divide. (128 x 128 by warpgroups: 97 to 128 where 128 x 192
// takes 80 to 103.) TF32 goes by warpgroups only where it goes by windows: products of a warpgroup
// take float32 in rows along k, and here a row is a pixel.
//
// A warp of float32's tiles has fewer sums: it needs registers for addresses.
template <class E>
using SquareTile = std::conditional_t<std::is_same_v<E, float>, Tile<E, 128, 128, 64, 32, 3, 1>,
                                      Tile<E, 128, 128, 64, 64, 3, 2>>;
template <class E>
using ThreeTapsTile = std::conditional_t<std::is_same_v<E, float>, Tile<E, 64, 192, 32, 48, 3, 1>,
                                         Tile<E, 64, 192, 64, 48, 3, 2>>;
template <class E>
using TallTile = Tile<E, 128, 64, 64, 32, 4, 2>;
template <class E>
using SmallTile = Tile<E, 64, 64, 32, 32, 4, 2>;

using WideGroupTile = WarpgroupTile<BFloat16, 128, 256, 4, 1>;
using MediumGroupTile = WarpgroupTile<BFloat16, 128, 192, 4, 1>;
using ThreeTapsGroupTile = WarpgroupTile<BFloat16, 64, 192, 3, 2>;

/// Calls function.operator()<T>() with the tile of E for a convolution.
template <class E, class Function>
void with_tile(const Problem& p, const Function& function) {
  const auto divides = [&]<class T>(T) {
    return p.O % T::m == 0 && p.kernel * p.kernel * p.C % T::n == 0;
  };
  if constexpr (std::is_same_v<E, BFloat16>) {
    if (uses_warpgroups() && p.kernel == 3) {
      if (divides(WideGroupTile())) return function.template operator()<WideGroupTile>();
      if (divides(MediumGroupTile())) return function.template operator()<MediumGroupTile>();
      return function.template operator()<ThreeTapsGroupTile>();
    }
  }
  if (p.kernel == 3 && divides(SquareTile<E>())) {
    function.template operator()<SquareTile<E>>();
  } else if (p.kernel == 3) {
    function.template operator()<ThreeTapsTile<E>>();
  } else if (divides(TallTile<E>())) {
    function.template operator()<TallTile<E>>();
  } else {
    function.template operator()<SmallTile<E>>();
  }
}

}  // namespace

template <class E>
void conv2d_backward_weight(const E* input, const E* doutput, float* dweight,
                            const Conv2dGeometry& g) {
  if (windows::suits_backward_weight<E>(g)) {
    return windows::backward_weight(input, doutput, dweight, g);
  }
  const Problem p = problem_of(g);
  const std::int64_t columns = g.kernel.height * g.kernel.width * g.C, weights = g.O * columns;
  const auto pixels = static_cast<double>(p.pixels);
  const double read = g.kernel == Size2(1) ? pixels : static_cast<double>(g.N * g.H * g.W);
  const double flops = 2 * pixels * static_cast<double>(weights);
  const Work work{
      .bytes = (read * static_cast<double>(g.C) + pixels * static_cast<double>(g.O)) * sizeof(E),
      .flops = flops,
      .unit = unit_of<E>};
  with_tile<E>(p, [&]<class T>() {
    const std::int64_t tiles = g.O / T::m * (columns / T::n);
    Work of_tile = work;
    of_tile.cached_bytes = copied_bytes<T>(flops);
    allow_shared_bytes<weight_gradient_kernel<T>>(T::shared_bytes);
    sum_by_parts(
        dweight, weights, of_tile,
        parts_for(tiles, std::int64_t{T::blocks} * multiprocessor_count(),
                  divide_up(p.pixels, T::step_k), flops / flop_rate<E>,
                  static_cast<double>(weights)),
        [&](float* sums, unsigned parts, const Work& all) {
          launch("conv backward weight implicit gemm", weight_gradient_kernel<T>,
                 {dim3(static_cast<unsigned>(tiles), parts), dim3(T::threads), T::shared_bytes},
                 all, input, doutput, sums, p);
        });
  });
}

GRADUS_INSTANTIATE(conv2d_backward_weight<BFloat16>)
GRADUS_INSTANTIATE(conv2d_backward_weight<float>)

}  // namespace gradus::cuda::implicit_gemm
