// The forward convolution and the gradient of the input, which are one product: the gradient is a
// convolution of doutput with the weights transposed and turned by half a turn.
//
// With stride 2 it is one for each of the 4 phases of dinput's pixels (even or odd row, even or odd
// column): along an axis an even position gets the kernel's middle tap, an odd one the two others.
// All phases together are as many multiplications as forward, none of them with a zero.
//
//   dinput    0     1        2     3        4
//   doutput   0     0  1     1     1  2     2
//   tap       1     2  0     1     2  0     1
#include "tensor/cuda/conv/implicit_gemm.h"

#include <utility>

#include "tensor/backend/instantiate.h"
#include "tensor/cuda/conv/implicit_gemm_patches.cuh"
#include "tensor/cuda/conv/implicit_gemm_rows.cuh"
#include "tensor/cuda/conv/implicit_gemm_windows.h"
#include "tensor/cuda/map.h"
#include "tensor/cuda/runtime/launch.h"

namespace gradus::cuda::implicit_gemm {
namespace {

/// sums += the products of stages of rows along k.
template <class T>
__device__ __forceinline__ void multiply_rows(int steps, PatchCopies<T>& copies,
                                              SharedAddress stages, Sums<T>& sums) {
  if constexpr (T::warpgroups) {
    multiply_by_warpgroups<T, false>(steps, copies, stages, sums);
  } else {
    multiply<T>(steps, copies, RowFragments<T>(stages), sums);
  }
}

/// What a block of the convolution is: the tile's first row and column, and the phase.
struct BlockPlace {
  int row, column, phase;
};
template <class T>
__device__ BlockPlace block_place(const Problem& p) {
  const auto across = static_cast<unsigned>(p.O / T::n);  // blocks that share the pixels' rows
  return {static_cast<int>(blockIdx.x / across) * T::m,
          static_cast<int>(blockIdx.x % across) * T::n,
          static_cast<int>(gridDim.z - 1 - blockIdx.z)};  // the longest sums first
}

// output [N, height, width, O] = input [N, H, W, C] convolved with weight [O, kernel, kernel, C],
// + bias [O] or null. A block makes T::m pixels of T::n channels. partial [tiles of pixels, O], or
// null, gets the moments of the output's channels.
template <class T>
__global__ void __launch_bounds__(T::threads, T::blocks)
    convolution_kernel(const typename T::Element* __restrict__ input,
                       const typename T::Element* __restrict__ weight,
                       const float* __restrict__ bias, typename T::Element* __restrict__ output,
                       Moments<float>* __restrict__ partial, const Problem p) {
  const BlockPlace block = block_place<T>(p);
  const Taps taps{p.kernel, p.kernel, 0, 0, 1};
  const SharedAddress stages = stages_of_block<T>();
  PatchCopies<T> copies(p, taps, input, weight, block.row, block.column, stages);
  Sums<T> sums = {};
  multiply_rows<T>(p.kernel * p.kernel * p.C / T::step_k, copies, stages, sums);
  if (bias) add_bias<T>(sums, bias, block.column);
  store_rows<T>(sums, output, [&](int row) -> std::int64_t {
    const int pixel = block.row + row;
    return pixel < p.pixels ? static_cast<std::int64_t>(pixel) * p.O + block.column : -1;
  });
  if (partial == nullptr) return;
  const std::int64_t tile = block.row / T::m;
  store_moments<T>(min(T::m, p.pixels - block.row), partial + tile * p.O + block.column);
}

// dinput [N, rows, columns, O] of a convolution with stride 2: p gathers from doutput [N, H, W, C]
// with weight [O, kernel, kernel, C], which are transposed and turned already. Of a phase, rows of
// the product are pixels (2 i, 2 j) as far as there are any; those without a partner write nothing.
template <class T>
__global__ void __launch_bounds__(T::threads, T::blocks)
    phases_kernel(const typename T::Element* __restrict__ doutput,
                  const typename T::Element* __restrict__ weight,
                  typename T::Element* __restrict__ dinput, const Problem p, const int rows,
                  const int columns) {
  const BlockPlace block = block_place<T>(p);
  const Taps taps = taps_of_phase(p.kernel, block.phase);
  const SharedAddress stages = stages_of_block<T>();
  PatchCopies<T> copies(p, taps, doutput, weight, block.row, block.column, stages);
  Sums<T> sums = {};
  multiply_rows<T>(taps.rows * taps.columns * p.C / T::step_k, copies, stages, sums);
  store_rows<T>(sums, dinput, [&](int row) -> std::int64_t {
    const Pixel pixel = pixel_of(p, block.row + row);
    const int h = 2 * pixel.row + block.phase / 2, w = 2 * pixel.column + block.phase % 2;
    if (block.row + row >= p.pixels || h >= rows || w >= columns) return -1;
    return ((static_cast<std::int64_t>(pixel.n) * rows + h) * columns + w) * p.O + block.column;
  });
}

template <class E>
struct ToOperand {
  __device__ E operator()(float x) const { return to_operand<E>(x); }
};

constexpr int turn_side = 32, turn_rows = 8;

// turned [C, taps, O] = weight [O, taps, C], the taps in reverse. A block takes 32 x 32 of a tap.
template <class E>
__global__ void __launch_bounds__(turn_side* turn_rows)
    turn_weight_kernel(const float* __restrict__ weight, E* __restrict__ turned, int O, int C) {
  __shared__ SharedArray<float, turn_side*(turn_side + 1)> tile;
  const int taps = static_cast<int>(gridDim.y), tap = static_cast<int>(blockIdx.y);
  const unsigned across = static_cast<unsigned>(C) / turn_side;
  const int o0 = static_cast<int>(blockIdx.x / across) * turn_side;
  const int c0 = static_cast<int>(blockIdx.x % across) * turn_side;
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  for (int o = y; o < turn_side; o += turn_rows) {
    tile[o * (turn_side + 1) + x] =
        weight[(static_cast<std::int64_t>(o0 + o) * taps + tap) * C + c0 + x];
  }
  __syncthreads();
  for (int c = y; c < turn_side; c += turn_rows) {
    const float value = tile[x * (turn_side + 1) + c];
    turned[(static_cast<std::int64_t>(c0 + c) * taps + taps - 1 - tap) * O + o0 + x] =
        to_operand<E>(value);
  }
}

// --- launchers ----------------------------------------------------------------------------------

// clang-format off
// Microseconds of a layer's forward convolution of 512 images in bfloat16 on an H200, by tile; * by
// warpgroups:
//
//   kernel/stride  channels     image   128 x 128   128 x 64   * 128 x 64   * 128 x 128   * 128 x 256
//   3x3/1           64 ->  64      32           -        129          109             -             -
//   3x3/1          128 -> 128      16          95        121           92            76             -
//   3x3/1          256 -> 256       8          87        115           85            70            60
//   3x3/1          512 -> 512       4          84        120           84            67            57
//   3x3/2           64 -> 128      32          56          -            -            54             -
//   3x3/2          128 -> 256      16          48          -            -            45            36
//   3x3/2          256 -> 512       8          45          -            -            40            31
//   1x1/2           64 -> 128      32          23         24            -             -             -
//   1x1/2          256 -> 512       8          11         14            -             -             -
//
// (256 x 128 on one block a multiprocessor: 94 to 108 where 128 x 128 takes 84 to 95; by warpgroups
// as long as 128 x 128.) The same tiles serve TF32: on an H100 layers of 64 to 512 channels run at 170
// to 330 TFLOP/s, forward and for the gradient of the input, by warpgroups.
// clang-format on
template <class E>
using MediumTile = Tile<E, 128, 128, 64, 64, 3, 2>;
template <class E>
using NarrowTile = Tile<E, 128, 64, 64, 32, 3, 3>;
template <class E>
using WideGroupTile = WarpgroupTile<E, 128, 256, 4, 1>;
template <class E>
using MediumGroupTile = WarpgroupTile<E, 128, 128, 3, 2>;
template <class E>
using NarrowGroupTile = WarpgroupTile<E, 128, 64, 4, 2>;

/// Calls function.operator()<T>() with the tile of E for so many output channels.
template <class E, class Function>
void with_tile(int channels, const Function& function) {
  const auto divides = [&]<class T>(T) { return channels % T::n == 0; };
  if (uses_warpgroups()) {
    if (divides(WideGroupTile<E>())) {
      function.template operator()<WideGroupTile<E>>();
    } else if (divides(MediumGroupTile<E>())) {
      function.template operator()<MediumGroupTile<E>>();
    } else {
      function.template operator()<NarrowGroupTile<E>>();
    }
  } else if (divides(MediumTile<E>())) {
    function.template operator()<MediumTile<E>>();
  } else {
    function.template operator()<NarrowTile<E>>();
  }
}

template <class T>
LaunchShape shape_of(const Problem& p, unsigned phases) {
  const std::int64_t blocks = divide_up(p.pixels, T::m) * (p.O / T::n);
  return {dim3(static_cast<unsigned>(blocks), 1, phases), dim3(T::threads), T::shared_bytes};
}

double weights_of(const Conv2dGeometry& g) { return static_cast<double>(g.O * g.columns()); }
double output_pixels(const Conv2dGeometry& g) { return static_cast<double>(g.output_pixels()); }
/// Pixels of the input that the convolution reads, or whose gradient is not zero.
double input_pixels(const Conv2dGeometry& g) {
  return g.kernel == Size2(1) ? output_pixels(g) : static_cast<double>(g.N * g.H * g.W);
}

/// The work, by the tile T, of a convolution that reads, or of its gradient that writes, so many
/// pixels of the input. Blocks copy from the second-level cache.
template <class T>
Work work_of(const Conv2dGeometry& g, double pixels) {
  using E = typename T::Element;
  const double flops = 2 * output_pixels(g) * weights_of(g);
  return {.bytes = (pixels * static_cast<double>(g.C) + weights_of(g) +
                    output_pixels(g) * static_cast<double>(g.O)) *
                   sizeof(E),
          .cached_bytes = copied_bytes<T>(flops),
          .flops = flops,
          .unit = unit_of<E>};
}

/// weight [O, kernel, kernel, C] as the gradient of the input takes it: [C, kernel, kernel, O].
template <class E>
void turn_weight(const float* weight, E* turned, const Conv2dGeometry& g) {
  const auto tiles = [](std::int64_t n) { return static_cast<unsigned>(n / turn_side); };
  const auto taps = static_cast<unsigned>(g.kernel.height * g.kernel.width);
  launch("conv weight turned", turn_weight_kernel<E>,
         {dim3(tiles(g.C) * tiles(g.O), taps), dim3(turn_side, turn_rows)},
         {.bytes = weights_of(g) * (sizeof(float) + sizeof(E))}, weight, turned,
         static_cast<int>(g.O), static_cast<int>(g.C));
}

}  // namespace

template <class E>
void conv2d(const E* input, const float* weight, const float* bias, E* output,
            const Conv2dGeometry& g, const Statistics& statistics) {
  const auto weights = static_cast<std::int64_t>(weights_of(g));
  const Scratch<E> operand(weights);
  map("conv weight rounded", ToOperand<E>{}, operand.data(), weights, weight);
  if (windows::suits(g)) {
    return windows::convolve("conv implicit gemm", input, operand.data(), bias, output, g,
                             statistics);
  }
  const Problem p = problem_of(g);
  with_tile<E>(p.O, [&]<class T>() {
    const bool wanted = statistics.mean != nullptr;
    const std::int64_t tiles = divide_up(p.pixels, T::m);
    const Scratch<Moments<float>> partial(wanted ? tiles * g.O : 0);
    allow_shared_bytes<convolution_kernel<T>>(T::shared_bytes);
    launch("conv implicit gemm", convolution_kernel<T>, shape_of<T>(p, 1),
           work_of<T>(g, input_pixels(g)), input, operand.data(), bias, output,
           wanted ? partial.data() : nullptr, p);
    if (wanted) merge_moments(partial.data(), statistics.mean, statistics.variance, tiles, g.O);
  });
}

template <class E>
void conv2d_backward_input(const E* doutput, const float* weight, E* dinput,
                           const Conv2dGeometry& g) {
  const Scratch<E> turned(static_cast<std::int64_t>(weights_of(g)));
  turn_weight(weight, turned.data(), g);
  // A convolution from doutput. With stride 2, a phase has as many pixels as doutput.
  Conv2dGeometry reverse = g;
  reverse.H = g.out_height, reverse.W = g.out_width;
  reverse.C = g.O, reverse.O = g.C;
  const bool phases = g.stride == Size2(2);
  reverse.stride = 1;
  if (phases) reverse.padding = 0;
  const char* const name = "conv backward input implicit gemm";
  if (windows::suits(reverse)) {
    return windows::convolve(name, doutput, turned.data(), static_cast<const float*>(nullptr),
                             dinput, reverse, {});
  }
  const Problem p = problem_of(reverse);
  with_tile<E>(p.O, [&]<class T>() {
    const Work work = work_of<T>(g, static_cast<double>(g.N * g.H * g.W));
    if (phases) {
      allow_shared_bytes<phases_kernel<T>>(T::shared_bytes);
      launch(name, phases_kernel<T>, shape_of<T>(p, 4), work, doutput, turned.data(), dinput, p,
             static_cast<int>(g.H), static_cast<int>(g.W));
    } else {
      allow_shared_bytes<convolution_kernel<T>>(T::shared_bytes);
      launch(name, convolution_kernel<T>, shape_of<T>(p, 1), work, doutput, turned.data(),
             static_cast<const float*>(nullptr), dinput, static_cast<Moments<float>*>(nullptr), p);
    }
  });
}

GRADUS_INSTANTIATE(conv2d<BFloat16>)
GRADUS_INSTANTIATE(conv2d<float>)
GRADUS_INSTANTIATE(conv2d_backward_input<BFloat16>)
GRADUS_INSTANTIATE(conv2d_backward_input<float>)

bool has_code() {
#if defined(GRADUS_CUDA_EMULATOR)
  return true;
#else
  static const bool has = [] {
    cudaFuncAttributes attributes{};
    GRADUS_CUDA_CHECK(cudaFuncGetAttributes(&attributes, convolution_kernel<MediumTile<BFloat16>>));
    return attributes.ptxVersion >= 80;
  }();
  return has;
#endif
}

namespace {

#if defined(GRADUS_CUDA_EMULATOR)
bool warpgroups_allowed = false;  // its stand-ins are slow
bool has_warpgroups() { return true; }
#elif defined(GRADUS_CUDA_SM90A)
bool warpgroups_allowed = true;
bool has_warpgroups() {
  static const bool has = [] {
    int major = 0, minor = 0;
    GRADUS_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
    GRADUS_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0));
    return major == 9 && minor == 0;
  }();
  return has;
}
#else
bool warpgroups_allowed = true;
bool has_warpgroups() { return false; }  // this program has no code for them
#endif

}  // namespace

bool uses_warpgroups() { return warpgroups_allowed && has_warpgroups(); }
bool allow_warpgroups(bool on) { return std::exchange(warpgroups_allowed, on); }

bool suits(const Conv2dGeometry& g) {
  const std::int64_t side = g.kernel.height, stride = g.stride.height;
  constexpr std::int64_t most =
      (std::int64_t{1} << 31) - MediumTile<float>::m;  // tiles end beyond the image
  return g.kernel == Size2(side) && (side == 1 || side == 3) && g.padding == Size2(side / 2) &&
         g.stride == Size2(stride) && (stride == 2 || (stride == 1 && side == 3)) &&
         g.dilation == Size2(1) && g.groups == 1 && g.C % largest_step_k == 0 &&
         g.O % largest_step_k == 0 && g.N * (g.H + 2) * (g.W + 2) * g.C < most &&
         g.N * g.out_height * g.out_width * g.O < most && weights_of(g) < most && has_code();
}

}  // namespace gradus::cuda::implicit_gemm
