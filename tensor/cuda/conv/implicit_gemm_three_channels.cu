// Here a pixel's row of the column matrix (implicit_gemm.cuh) is 27 numbers, of which no 16 bytes
// lie together in the image: threads gather them one by one, a piece of 8 at a time, and write them
// to a stage, which then is as that of other convolutions. 27 columns are less than a stage's row
// holds, so forward has a single step; what bounds it is to write the output.
#include "tensor/cuda/conv/implicit_gemm_three_channels.h"

#include "tensor/backend/instantiate.h"
#include "tensor/cuda/conv/implicit_gemm_panels.cuh"
#include "tensor/cuda/conv/implicit_gemm_parts.h"
#include "tensor/cuda/conv/implicit_gemm_patches.cuh"
#include "tensor/cuda/conv/implicit_gemm_rows.cuh"
#include "tensor/cuda/runtime/launch.h"

namespace gradus::cuda::implicit_gemm::three_channels {
namespace {

constexpr int channels = 3, columns = 9 * channels;
constexpr int gathered = 8, pieces = 4;  // columns that a thread gathers at once, 8 of 32

/// Where tap and channel of a column are, and whether there is such a column.
struct Column {
  int row, column, channel;
  bool exists;
  __device__ explicit Column(int number)
      : row(number / (3 * channels)),
        column(number / channels % 3),
        channel(number % channels),
        exists(number < columns) {}
};

/// Columns 8 `piece` and on of a pixel, zeros outside of the image and behind the last one.
template <class E>
struct Gathered {
  E values[gathered];
  __device__ Gathered(const Problem& p, const E* input, int number, int piece) {
    const bool exists = number < p.pixels;
    const Pixel pixel = pixel_of(p, exists ? number : 0);
    const int h = pixel.row * p.stride - p.padding, w = pixel.column * p.stride - p.padding;
    const E* const from = input + ((pixel.n * p.H + h) * p.W + w) * channels;
#pragma unroll
    for (int i = 0; i < gathered; ++i) {
      const Column c(piece * gathered + i);
      const bool valid = exists && c.exists && inside(h + c.row, p.H) && inside(w + c.column, p.W);
      values[i] = valid ? from[(c.row * p.W + c.column) * channels + c.channel] : E(0.0f);
    }
  }
};

/// Writes 8 neighbouring elements to row `row` of what begins `begin` bytes into shared memory, by
/// the chunk, whose places are combined with `swizzle`.
template <class E>
__device__ __forceinline__ void store_piece(const E (&values)[gathered], int begin, int row,
                                            int piece, int swizzle, int shared_bytes) {
  constexpr int size = chunk_bytes / int{sizeof(E)}, chunks = gathered / size;
  const auto memory = dynamic_shared<Vector<E, size>>(shared_bytes / chunk_bytes);
#pragma unroll
  for (int i = 0; i < chunks; ++i) {
    Vector<E, size> chunk;
#pragma unroll
    for (int j = 0; j < size; ++j) chunk[j] = values[i * size + j];
    const int place = (piece * chunks + i) ^ swizzle;
    memory[begin / chunk_bytes + row * row_chunks + place] = chunk;
  }
}

// output [N, height, width, O] = input [N, H, W, 3] convolved with weight [O, 3, 3, 3], + bias [O]
// or null. A block makes T::m pixels, one a thread, of T::n channels. partial [tiles of pixels, O],
// or null, gets the moments of the output's channels.
template <class T>
__global__ void __launch_bounds__(T::threads, T::blocks)
    images_kernel(const typename T::Element* __restrict__ input, const float* __restrict__ weight,
                  const float* __restrict__ bias, typename T::Element* __restrict__ output,
                  Moments<float>* __restrict__ partial, const Problem p) {
  using E = typename T::Element;
  static_assert(T::threads == T::m);
  const auto across = static_cast<unsigned>(p.O / T::n);
  const int tile = static_cast<int>(blockIdx.x / across), first_row = tile * T::m;
  const int first_column = static_cast<int>(blockIdx.x % across) * T::n;
  const int thread = static_cast<int>(threadIdx.x);
  const SharedAddress stages = stages_of_block<T>();
#pragma unroll
  for (int piece = 0; piece < pieces; ++piece) {
    const Gathered<E> row(p, input, first_row + thread, piece);
    store_piece(row.values, 0, thread, piece, thread % 8, T::shared_bytes);
  }
  for (int item = thread; item < T::n * pieces; item += T::threads) {
    const int row = item % T::n, piece = item / T::n;
    const float* const from = weight + (first_column + row) * columns;
    E values[gathered];
#pragma unroll
    for (int i = 0; i < gathered; ++i) {
      const int column = piece * gathered + i;
      values[i] = to_operand<E>(column < columns ? from[column] : 0);
    }
    store_piece(values, T::m * row_bytes, row, piece, row % 8, T::shared_bytes);
  }
  __syncthreads();
  Sums<T> sums = {};
  const RowFragments<T> fragments(stages);
#pragma unroll
  for (int slice = 0; slice < gathered * pieces / T::slice_k; ++slice) {
    std::uint32_t a[T::fragments_m][4], b[T::fragments_n][4];
    fragments.load(a, b, 0, slice);
    multiply_fragments<T>(a, b, sums);
  }
  __syncthreads();
  if (bias) add_bias<T>(sums, bias, first_column);
  store_rows<T>(sums, output, [&](int row) -> std::int64_t {
    const int pixel = first_row + row;
    return pixel < p.pixels ? static_cast<std::int64_t>(pixel) * p.O + first_column : -1;
  });
  if (partial == nullptr) return;
  store_moments<T>(min(T::m, p.pixels - first_row),
                   partial + static_cast<std::int64_t>(tile) * p.O + first_column);
}

/// Fills stages for the gradient of the weights: k is the pixel, T::step_k in a stage, with a panel
/// of doutput, T::m channels, and behind it one of the columns.
template <class T>
class ImageCopies {
  using E = typename T::Element;

 public:
  __device__ ImageCopies(const Problem& p, const E* input, const E* doutput, int first_output,
                         int first_pixel, SharedAddress stages)
      : p_(p),
        input_(input),
        pixel_(first_pixel),
        doutput_(p, doutput, first_output, first_pixel, stages) {
    // Columns that nobody gathers are zeros in all stages.
    const auto chunks = dynamic_shared<Vector<float, 4>>(T::shared_bytes / chunk_bytes);
    for (int i = static_cast<int>(threadIdx.x); i < T::shared_bytes / chunk_bytes; i += T::threads)
      chunks[i] = Vector<float, 4>{};
    __syncthreads();
  }

  __device__ __forceinline__ void start(std::uint32_t stage, int quarter) const {
    doutput_.start(stage, quarter);
    constexpr int at_once = T::threads / T::step_k, rounds = pieces / at_once;
    if (quarter >= rounds) return;
    const int row = static_cast<int>(threadIdx.x) % T::step_k;
    const int piece = static_cast<int>(threadIdx.x) / T::step_k + quarter * at_once;
    const Gathered<E> columns_of_pixel(p_, input_, pixel_ + row, piece);
    store_piece(columns_of_pixel.values, static_cast<int>(stage) + T::m * row_bytes, row, piece,
                panel_swizzle<E>(row), T::shared_bytes);
  }
  __device__ __forceinline__ void advance() {
    pixel_ += T::step_k;
    doutput_.advance();
  }

 private:
  const Problem& p_;
  const E* input_;
  int pixel_;
  OutputCopies<T> doutput_;
};

// sums [parts, O, 27] over the pixels of each part (blockIdx.y).
template <class T>
__global__ void __launch_bounds__(T::threads, T::blocks)
    images_weight_kernel(const typename T::Element* __restrict__ input,
                         const typename T::Element* __restrict__ doutput,
                         float* __restrict__ sums_of_parts, const Problem p) {
  const int first_output = static_cast<int>(blockIdx.x) * T::m;
  const std::int64_t steps = divide_up(std::int64_t{p.pixels}, T::step_k);  // of all parts
  const auto first_step = static_cast<int>(steps * blockIdx.y / gridDim.y);
  const auto end_step = static_cast<int>(steps * (blockIdx.y + 1) / gridDim.y);
  const SharedAddress stages = stages_of_block<T>();
  ImageCopies<T> copies(p, input, doutput, first_output, first_step * T::step_k, stages);
  Sums<T> sums = {};
  multiply<T>(end_step - first_step, copies, PanelFragments<T>(stages), sums);

  const WarpPlace<T> place;
  const std::int64_t first_row = std::int64_t{blockIdx.y} * p.O + first_output + place.row;
#pragma unroll
  for (int i = 0; i < T::fragments_m; ++i) {
#pragma unroll
    for (int j = 0; j < 2 * T::fragments_n; ++j) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int column = place.column + j * 8 + place.lane % 4 * 2 + k % 2;
        const std::int64_t row = first_row + i * 16 + place.lane / 4 + k / 2 * 8;
        if (column < columns) sums_of_parts[row * columns + column] = sums[i][j][k];
      }
    }
  }
}

template <class E>
using ForwardTile = Tile<E, 128, 64, 64, 32, 2, 4>;
// A warp's sums of 32 x 32 would spill in bfloat16 for compute capability 12.0.
template <class E>
using WeightTile = Tile<E, 64, 64, 16, 64, 3, 3>;

/// The work of a convolution or of its gradient of the weights.
template <class E>
Work work_of(const Conv2dGeometry& g) {
  const auto pixels = static_cast<double>(g.output_pixels()), outputs = static_cast<double>(g.O);
  return {.bytes = (pixels * outputs + static_cast<double>(g.N * g.H * g.W * channels)) * sizeof(E),
          .cached_bytes = 0,
          .flops = 2 * pixels * outputs * columns,
          .unit = unit_of<E>};
}

}  // namespace

bool suits(const Conv2dGeometry& g) {
  constexpr std::int64_t most = (std::int64_t{1} << 31) - ForwardTile<float>::m;
  return g.kernel == Size2(3) && g.C == channels && g.O % ForwardTile<float>::n == 0 &&
         g.stride == Size2(g.stride.height) && g.padding == Size2(g.padding.height) &&
         g.dilation == Size2(1) && g.groups == 1 && g.padding.height < 3 &&
         g.N * (g.H + g.padding.height) * (g.W + g.padding.width) * g.C < most &&
         g.output_pixels() * g.O < most && g.O * columns < most && has_code();
}

template <class E>
void conv2d(const E* input, const float* weight, const float* bias, E* output,
            const Conv2dGeometry& g, const Statistics& statistics) {
  using T = ForwardTile<E>;
  const Problem p = problem_of(g);
  const bool wanted = statistics.mean != nullptr;
  const std::int64_t tiles = divide_up(p.pixels, T::m);
  const Scratch<Moments<float>> partial(wanted ? tiles * g.O : 0);
  allow_shared_bytes<images_kernel<T>>(T::shared_bytes);
  launch("conv implicit gemm", images_kernel<T>,
         {dim3(static_cast<unsigned>(tiles * (g.O / T::n))), dim3(T::threads), T::shared_bytes},
         work_of<E>(g), input, weight, bias, output, wanted ? partial.data() : nullptr, p);
  if (wanted) merge_moments(partial.data(), statistics.mean, statistics.variance, tiles, g.O);
}

template <class E>
void conv2d_backward_weight(const E* input, const E* doutput, float* dweight,
                            const Conv2dGeometry& g) {
  using T = WeightTile<E>;
  const Problem p = problem_of(g);
  const std::int64_t tiles = g.O / T::m, weights = g.O * columns;
  const Work work = work_of<E>(g);
  constexpr double byte_rate = 2.5e12;  // reading doutput takes longer than the products
  allow_shared_bytes<images_weight_kernel<T>>(T::shared_bytes);
  sum_by_parts(dweight, weights, work,
               parts_for(tiles, std::int64_t{T::blocks} * multiprocessor_count(),
                         divide_up(p.pixels, T::step_k), work.bytes / byte_rate,
                         static_cast<double>(weights)),
               [&](float* sums, unsigned parts, const Work& all) {
                 launch(
                     "conv backward weight implicit gemm", images_weight_kernel<T>,
                     {dim3(static_cast<unsigned>(tiles), parts), dim3(T::threads), T::shared_bytes},
                     all, input, doutput, sums, p);
               });
}

GRADUS_INSTANTIATE(conv2d<BFloat16>)
GRADUS_INSTANTIATE(conv2d<float>)
GRADUS_INSTANTIATE(conv2d_backward_weight<BFloat16>)
GRADUS_INSTANTIATE(conv2d_backward_weight<float>)

}  // namespace gradus::cuda::implicit_gemm::three_channels
