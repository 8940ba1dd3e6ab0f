// The gradient of the weights of a 3x3 convolution with stride 1 by windows: dweight [O, 9, C] =
// the sum over squares of 8 x 8 pixels of doutput^T [O, 64 pixels] columns [64 pixels, 9 C]. A
// window (implicit_gemm_windows.cuh) is the columns of all nine taps at once: those of a tap begin
// at another row of it. A warpgroup takes the three taps of a row of the kernel, whose columns
// begin a row apart: one product has them as three panels (warpgroup.h) that overlap.
//
// That is bfloat16's way; TF32's is in implicit_gemm_windows_tf32.cuh. In both a block makes 64
// outputs x 9 taps x 64 channels of a part of the squares.
#include "tensor/cuda/conv/implicit_gemm_parts.h"
#include "tensor/cuda/conv/implicit_gemm_windows.h"
#include "tensor/cuda/conv/implicit_gemm_windows_tf32.cuh"
#include "tensor/cuda/runtime/launch.h"

namespace gradus::cuda::implicit_gemm::windows {
namespace {

constexpr int kernel_rows = 3;
constexpr int channels = 64;  // of a block's inputs, and of its outputs: a row of a stage
constexpr int threads = 128 * kernel_rows;
constexpr int fragments = kernel_rows * channels / 8;  // of 8 columns: those of three taps
constexpr int square_bytes = square_pixels * row_bytes;
constexpr int stage_bytes = (square_bytes + window_bytes + 1023) / 1024 * 1024;
constexpr int stages = 6;

/// Fills stages: a square of doutput and behind it the window of the input.
class SquareCopies {
 public:
  __device__ SquareCopies(const Problem& p, const BFloat16* input, const BFloat16* doutput,
                          int first_channel, int first_output, int first_square,
                          SharedAddress memory)
      : p_(p),
        input_(input + first_channel),
        doutput_(doutput + first_output),
        square_(first_square) {
    const CopyPlace place;
    to_ = memory + place.offset(place.row % 8);
    chunk_ = place.chunk * (chunk_bytes / int{sizeof(BFloat16)});
#pragma unroll
    for (int i = 0; i < copies; ++i) {
      const int row = place.row + i * copied_rows, in_window = row - square_pixels;
      row_[i] = in_window < 0 ? row / square_side : in_window / window_side - 1;
      column_[i] = in_window < 0 ? row % square_side : in_window % window_side - 1;
      of_doutput_ |= (in_window < 0 ? 1u : 0u) << i;
    }
    last_ = place.row + (copies - 1) * copied_rows < rows;
  }

  /// Starts the copies of the next square's stage, a group.
  __device__ __forceinline__ void fill(bool exists) {
    if (exists) {
      const Pixel square = pixel_of(p_, square_);
      const int h = square.row * square_side, w = square.column * square_side;
#pragma unroll
      for (int i = 0; i < copies; ++i) {
        if (i == copies - 1 && !last_) continue;
        const int y = h + row_[i], x = w + column_[i];
        const int pixel = (square.n * p_.H + y) * p_.W + x;
        const bool of_doutput = of_doutput_ >> i & 1, valid = inside(y, p_.H) && inside(x, p_.W);
        const BFloat16* const from = of_doutput ? doutput_ : input_;
        copy_async(to_ + stage_ + i * copied_rows * row_bytes,
                   from + (valid ? pixel * (of_doutput ? p_.O : p_.C) + chunk_ : 0), valid);
      }
      ++square_;
      stage_ = stage_ == (stages - 1) * stage_bytes ? 0 : stage_ + stage_bytes;
    }
    commit_copies();
  }

 private:
  static constexpr int copied_rows = threads / row_chunks, rows = square_pixels + window_pixels;
  static constexpr int copies = (rows + copied_rows - 1) / copied_rows;
  static_assert(copied_rows % 8 == 0);

  const Problem& p_;
  const BFloat16* input_;
  const BFloat16* doutput_;
  SharedAddress to_;
  int square_, chunk_;
  int row_[copies], column_[copies];  // of a copy's pixel in the square
  std::uint32_t of_doutput_ = 0;      // a bit a copy
  bool last_;                         // whether the thread has a last copy
  std::uint32_t stage_ = 0;
};

/// sums += the products of `steps` squares, with the three taps of this warpgroup.
__device__ __forceinline__ void multiply_squares(int steps, SquareCopies& copies,
                                                 SharedAddress memory,
                                                 float (&sums)[fragments][4]) {
  constexpr std::uint32_t slice_pixels = 16, slice_rows = slice_pixels / square_side;
  const std::uint32_t first_row = warpgroup_index() * window_side * row_bytes;
  const MatrixDescriptor squares(memory, 8 * row_bytes, 0);
  const MatrixDescriptor windows(memory + (square_bytes + first_row), window_side * row_bytes,
                                 row_bytes);
  std::uint32_t stage = 0;
  for (int i = 0; i < stages - 2; ++i) copies.fill(i < steps);
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    wait_for_copies<stages - 3>();
    publish_copies();
    __syncthreads();
    const MatrixDescriptor a = squares + stage, b = windows + stage;
    begin_products();
#pragma unroll
    for (std::uint32_t slice = 0; slice < square_pixels / slice_pixels; ++slice) {
      multiply_add<BFloat16, true>(sums, a + slice * slice_pixels * row_bytes,
                                   b + slice * slice_rows * window_side * row_bytes);
    }
    commit_products();
    copies.fill(step + stages - 2 < steps);
    wait_for_products<1>();
    stage = stage == (stages - 1) * stage_bytes ? 0 : stage + stage_bytes;
  }
  wait_for_products<0>();
  wait_for_copies<0>();
}

// sums [parts, O, 3, 3, C] over the squares of each part (blockIdx.y). The problem's rows are
// squares of pixels; input [N, H, W, C], doutput [N, H, W, O].
__global__ void __launch_bounds__(threads, 1)
    window_weight_kernel(const BFloat16* __restrict__ input, const BFloat16* __restrict__ doutput,
                         float* __restrict__ sums_of_parts, const Problem p) {
  const auto across = static_cast<unsigned>(p.C / channels);
  const int first_output = static_cast<int>(blockIdx.x / across) * channels;
  const int first_channel = static_cast<int>(blockIdx.x % across) * channels;
  const auto first = static_cast<int>(std::int64_t{p.pixels} * blockIdx.y / gridDim.y);
  const auto end = static_cast<int>(std::int64_t{p.pixels} * (blockIdx.y + 1) / gridDim.y);
  const auto stage_memory =
      dynamic_shared<Vector<std::uint32_t, 4>>(stages * stage_bytes / chunk_bytes);
  const SharedAddress memory(&stage_memory[0]);
  if (memory.value % 1024 != 0) __trap();
  float sums[fragments][4] = {};
  SquareCopies copies(p, input, doutput, first_channel, first_output, first, memory);
  multiply_squares(end - first, copies, memory, sums);

  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const int output = first_output + thread / 32 % 4 * 16 + lane / 4;
  const int kernel_row = thread / 128;
  const std::int64_t row = std::int64_t{blockIdx.y} * p.O + output;
  float* const to = sums_of_parts + (row * window_taps + kernel_row * kernel_rows) * p.C +
                    first_channel + lane % 4 * 2;
#pragma unroll
  for (int j = 0; j < fragments; ++j) {
    const int tap = j * 8 / channels, channel = j * 8 % channels;
    float* const at = to + tap * p.C + channel;
    store_vector(at, Vector<float, 2>{{sums[j][0], sums[j][1]}});
    store_vector(at + std::int64_t{8} * window_taps * p.C,
                 Vector<float, 2>{{sums[j][2], sums[j][3]}});
  }
}

/// Launches `kernel` on parts of the problem's squares, and adds their sums.
template <auto kernel, class E>
void sum_over_squares(const E* input, const E* doutput, float* dweight, const Conv2dGeometry& g,
                      const Problem& p, int block, int shared_bytes, int pixels_of_windows) {
  const std::int64_t tiles = g.O / channels * (g.C / channels), weights = g.O * g.columns();
  const auto pixels = static_cast<double>(g.output_pixels());
  const double flops = 2 * pixels * static_cast<double>(weights);
  const int copied = (square_pixels + pixels_of_windows) * channels * int{sizeof(E)};
  const double read = static_cast<double>(g.N * g.H * g.W * g.C);
  const Work work{.bytes = (read + pixels * static_cast<double>(g.O)) * sizeof(E),
                  .cached_bytes = static_cast<double>(tiles * p.pixels) * copied,
                  .flops = flops,
                  .unit = unit_of<E>};
  allow_shared_bytes<kernel>(static_cast<std::size_t>(shared_bytes));
  sum_by_parts(dweight, weights, work,
               parts_for(tiles, multiprocessor_count(), p.pixels, flops / flop_rate<E>,
                         static_cast<double>(weights)),
               [&](float* sums, unsigned parts, const Work& all) {
                 launch(
                     "conv backward weight implicit gemm", kernel,
                     {dim3(static_cast<unsigned>(tiles), parts), dim3(static_cast<unsigned>(block)),
                      static_cast<std::size_t>(shared_bytes)},
                     all, input, doutput, sums, p);
               });
}

/// The side of the squares that the TF32 kernel takes: 8, or 4 where four images are one; 0 where
/// it does not take the convolution.
int square_side_of(const Conv2dGeometry& g) {
  const std::int64_t stride = g.stride.height;
  const bool suits = uses_warpgroups() && g.kernel == Size2(3) && g.padding == Size2(1) &&
                     g.stride == Size2(stride) && stride <= 2 && g.H == stride * g.out_height &&
                     g.W == stride * g.out_width;
  if (!suits) return 0;
  if (g.out_height % 8 == 0 && g.out_width % 8 == 0) return 8;
  return g.out_height == 4 && g.out_width == 4 && g.N % 4 == 0 ? 4 : 0;
}

}  // namespace

template <>
bool suits_backward_weight<BFloat16>(const Conv2dGeometry& g) {
  return suits(g);
}
template <>
bool suits_backward_weight<float>(const Conv2dGeometry& g) {
  return square_side_of(g) > 0;
}

void backward_weight(const BFloat16* input, const BFloat16* doutput, float* dweight,
                     const Conv2dGeometry& g) {
  sum_over_squares<window_weight_kernel>(input, doutput, dweight, g, problem_of_squares(g), threads,
                                         stages * stage_bytes, window_pixels);
}

void backward_weight(const float* input, const float* doutput, float* dweight,
                     const Conv2dGeometry& g) {
  Conv2dGeometry squares = g;
  const bool parts_of_images = square_side_of(g) == square_side, halved = g.stride == Size2(2);
  squares.N = parts_of_images ? g.N : g.N / 4;
  squares.out_height = parts_of_images ? g.out_height / square_side : 1;
  squares.out_width = parts_of_images ? g.out_width / square_side : 1;
  const auto sum = [&]<class Shape>(Shape) {
    sum_over_squares<window_weight_tf32_kernel<Shape>>(
        input, doutput, dweight, g, problem_of(squares), tf32_threads,
        TransposedSquares<Shape>::bytes + WindowRing<Shape>::bytes, Shape::window_pixels);
  };
  if (parts_of_images && halved) return sum(SquareShape<8, 2>());
  if (parts_of_images) return sum(SquareShape<8, 1>());
  return halved ? sum(SquareShape<4, 2>()) : sum(SquareShape<4, 1>());
}

}  // namespace gradus::cuda::implicit_gemm::windows
