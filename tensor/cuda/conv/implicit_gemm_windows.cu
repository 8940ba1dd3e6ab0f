#include "tensor/cuda/conv/implicit_gemm_windows.h"

#include <algorithm>

#include "tensor/backend/instantiate.h"
#include "tensor/cuda/conv/implicit_gemm_windows.cuh"
#include "tensor/cuda/conv/implicit_gemm_windows_resident.cuh"
#include "tensor/cuda/runtime/launch.h"

namespace gradus::cuda::implicit_gemm::windows {
namespace {

// output [N, H, W, O] = input [N, H, W, C] convolved with weight [O, 3, 3, C], + bias [O] or null.
// The problem's rows are squares of pixels; a block makes T::windows of them, T::n channels.
// partial [tiles of squares, O], or null, gets the moments of the output's channels.
template <class T>
__global__ void __launch_bounds__(T::threads, T::blocks)
    window_kernel(const typename T::Element* __restrict__ input,
                  const typename T::Element* __restrict__ weight, const float* __restrict__ bias,
                  typename T::Element* __restrict__ output, Moments<float>* __restrict__ partial,
                  const Problem p) {
  const auto across = static_cast<unsigned>(p.O / T::n);  // blocks that share the squares
  const int tile = static_cast<int>(blockIdx.x / across), first_square = tile * T::windows;
  const int first_column = static_cast<int>(blockIdx.x % across) * T::n;
  const SharedAddress memory = stages_of_block<T>();
  WindowCopies<T> copies(p, input, weight, first_square, first_column, memory);
  Sums<T> sums = {};
  multiply_windows<T>(p.C / T::step_k, copies, memory, sums);
  if (bias) add_bias<T>(sums, bias, first_column);
  store_rows<T>(sums, output, [&](int row) -> std::int64_t {
    const int number = first_square + row / square_pixels;
    if (number >= p.pixels) return -1;
    const Pixel square = pixel_of(p, number);
    const int h = square.row * square_side + row / square_side % square_side;
    const int w = square.column * square_side + row % square_side;
    return ((static_cast<std::int64_t>(square.n) * p.H + h) * p.W + w) * p.O + first_column;
  });
  if (partial == nullptr) return;
  store_moments<T>(min(T::m, (p.pixels - first_square) * square_pixels),
                   partial + static_cast<std::int64_t>(tile) * p.O + first_column);
}

// Microseconds of a layer's forward convolution of 512 images on an H100, by tile (windows x
// channels); in brackets, blocks a multiprocessor. Beside them, how long a block that copies each
// tap's rows takes (compared in one run, which is not that of the README's tables):
//
//   bfloat16        128 x 64 (3)   256 x 64 (2)   128 x 128 (2)   256 x 128 (1)   rows
//   64 -> 64                  97             96               -               -    122
//   128 -> 128                 -              -              81              70     82
//   256 -> 256                 -              -              68              59     62
//   TF32            128 x 64 (2)   256 x 64 (1)   128 x 128 (1)   256 x 128 (1)   rows
//   64 -> 64                 185            204               -               -    223
//   128 -> 128                 -              -             148             126    162
//   256 -> 256                 -              -             129             106    121
//
// Weights of three taps in a stage, a third of the barriers, gained nothing (128 x 64, bfloat16).
// Without a bias, 64 -> 64 goes by blocks that stay: 82 and 136.
template <class E>
using WideTile = WindowTile<E, 256, 128, 4, 1>;
template <class E>
using NarrowTile = WindowTile<E, 128, 64, 4, 2>;

/// Calls function.operator()<T>() with the tile of E for a convolution.
template <class E, class Function>
void with_tile(const Conv2dGeometry& g, const Function& function) {
  if (g.O % WideTile<E>::n == 0) return function.template operator()<WideTile<E>>();
  function.template operator()<NarrowTile<E>>();
}

/// convolve() of 64 channels to 64, without a bias.
template <class E>
void convolve_resident(const char* name, const E* input, const E* weight, E* output,
                       const Conv2dGeometry& g, const Statistics& statistics) {
  using R = Resident<E>;
  const Problem p = problem_of_squares(g);
  const bool wanted = statistics.mean != nullptr;
  const std::int64_t blocks =
      std::min<std::int64_t>(divide_up(p.pixels, R::groups), multiprocessor_count());
  const Scratch<Moments<float>> partial(wanted ? blocks * R::channels : 0);
  const auto pixels = static_cast<double>(g.output_pixels());
  const auto weights = static_cast<double>(g.O * g.columns());
  const Work work{.bytes = (pixels * static_cast<double>(g.C + g.O) + weights) * sizeof(E),
                  .cached_bytes = static_cast<double>(p.pixels) * R::parts * window_bytes +
                                  static_cast<double>(blocks) * R::windows_begin,
                  .flops = 2 * pixels * weights,
                  .unit = unit_of<E>};
  allow_shared_bytes<resident_kernel<E>>(R::shared_bytes);
  launch(name, resident_kernel<E>,
         {dim3(static_cast<unsigned>(blocks)), dim3(R::threads), R::shared_bytes}, work, input,
         weight, output, wanted ? partial.data() : nullptr, p);
  if (wanted) merge_moments(partial.data(), statistics.mean, statistics.variance, blocks, g.O);
}

}  // namespace

bool suits(const Conv2dGeometry& g) {
  return uses_warpgroups() && g.kernel == Size2(3) && g.stride == Size2(1) &&
         g.padding == Size2(1) && g.H % square_side == 0 && g.W % square_side == 0;
}

template <class E>
void convolve(const char* name, const E* input, const E* weight, const float* bias, E* output,
              const Conv2dGeometry& g, const Statistics& statistics) {
  if (bias == nullptr && g.C == Resident<E>::channels && g.O == Resident<E>::channels) {
    return convolve_resident(name, input, weight, output, g, statistics);
  }
  const Problem p = problem_of_squares(g);
  with_tile<E>(g, [&]<class T>() {
    const bool wanted = statistics.mean != nullptr;
    const std::int64_t tiles = divide_up(p.pixels, T::windows), blocks = tiles * (g.O / T::n);
    const Scratch<Moments<float>> partial(wanted ? tiles * g.O : 0);
    const auto weights = static_cast<double>(g.O * g.columns());
    const auto pixels = static_cast<double>(g.output_pixels());
    const Work work{.bytes = (pixels * static_cast<double>(g.C + g.O) + weights) * sizeof(E),
                    .cached_bytes = static_cast<double>(blocks * (g.C / T::step_k)) *
                                    (T::buffer_bytes + window_taps * T::stage_bytes),
                    .flops = 2 * pixels * weights,
                    .unit = unit_of<E>};
    allow_shared_bytes<window_kernel<T>>(T::shared_bytes);
    launch(name, window_kernel<T>,
           {dim3(static_cast<unsigned>(blocks)), dim3(T::threads), T::shared_bytes}, work, input,
           weight, bias, output, wanted ? partial.data() : nullptr, p);
    if (wanted) merge_moments(partial.data(), statistics.mean, statistics.variance, tiles, g.O);
  });
}

GRADUS_INSTANTIATE(convolve<BFloat16>)
GRADUS_INSTANTIATE(convolve<float>)

}  // namespace gradus::cuda::implicit_gemm::windows
