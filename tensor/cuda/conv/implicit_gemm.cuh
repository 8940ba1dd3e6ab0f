// Implicit GEMM: a convolution is the product of its column matrix (im2col.cuh), one row an output
// pixel and one column a tap of the kernel and a channel, with the weights. Here nobody writes the
// column matrix: a block copies the piece that it multiplies next straight from the image, as a row
// of a piece is neighbouring channels of one pixel, or zeros where the tap lies in the padding.
//
// A block makes a tile of m x n sums, which stay in the registers of its warps, while it walks
// along k, the sums' index, in steps of 128 bytes: 64 elements of bfloat16, 32 of float32 (which
// the tensor cores take as TF32). A step's pieces of both matrices are a stage in shared memory.
// There are several stages, so that copies are under way while the tensor cores work:
//
//   stage 0   | copy 0 |          | multiply 0 | copy 3 ...............| multiply 3 | ...
//   stage 1     | copy 1 |                     | multiply 1 | copy 4 ...............|
//   stage 2       | copy 2 |                                | multiply 2 | copy 5 ...
//
// A warp multiplies fragments of 16 rows and 32 bytes of k, which ldmatrix brings from a stage to
// registers, while the tensor cores multiply those that were loaded before.
//
// A stage's rows are 128 bytes, 8 chunks of 16: once through all 32 banks of shared memory.
// ldmatrix reads the same chunk of 8 neighbouring rows at a time. If these lay below each other,
// they would share 4 banks and be read one after the other. So chunk c of row r lies at place
// c ^ (r % 8), the swizzle, and any 8 neighbouring rows have it in 8 different places:
//
//   place   0  1  2  3  4  5  6  7
//   row 0   0  1  2  3  4  5  6  7
//   row 1   1  0  3  2  5  4  7  6
//   row 2   2  3  0  1  6  7  4  5
//   row 3   3  2  1  0  7  6  5  4   ...
#pragma once

#include "tensor/backend/geometry.h"
#include "tensor/cuda/runtime/runtime.h"
#include "tensor/cuda/shared_array.h"
#include "tensor/cuda/warpgroup.h"

namespace gradus::cuda::implicit_gemm {

inline constexpr int row_bytes = 128;   // of a stage's row
inline constexpr int chunk_bytes = 16;  // that a copy moves
inline constexpr int row_chunks = row_bytes / chunk_bytes;
inline constexpr int slice_bytes = 32;                  // of k in a fragment
inline constexpr int slices = row_bytes / slice_bytes;  // of a stage
inline constexpr int largest_step_k = row_bytes / 2;    // elements of k in a stage

/// What a block makes, m x n sums, and how: its warps make warp_m x warp_n of them each, over so
/// many stages; registers are kept few enough for `blocks` blocks on a multiprocessor.
template <class E, int m_, int n_, int warp_m_, int warp_n_, int stages_, int blocks_>
struct Tile {
  using Element = E;  ///< BFloat16, or float, which is multiplied as TF32
  static constexpr int step_k = row_bytes / int{sizeof(E)};        // elements of k in a stage
  static constexpr int chunk_size = chunk_bytes / int{sizeof(E)};  // elements of a copy
  static constexpr int slice_k = slice_bytes / int{sizeof(E)};     // elements of k in a fragment
  static constexpr bool warpgroups = false;
  static constexpr int m = m_, n = n_, warp_m = warp_m_, warp_n = warp_n_;
  static constexpr int stages = stages_, blocks = blocks_;
  static constexpr int warps_m = m / warp_m, warps_n = n / warp_n;
  static constexpr int threads = 32 * warps_m * warps_n;
  static constexpr int fragments_m = warp_m / 16, fragments_n = warp_n / 16;
  static constexpr int copied_rows = threads / row_chunks;  // that the block copies at once
  static constexpr int stage_bytes = (m + n) * row_bytes;
  static constexpr int shared_bytes = stages * stage_bytes;
  static_assert(m % 64 == 0 && n % 64 == 0 && warp_m % 16 == 0 && warp_n % 16 == 0);
};

/// A tile that warpgroups multiply, where there are such instructions: 64 rows each, of which a
/// warp has 16. The tensor cores read the stages themselves.
template <class E, int m, int n, int stages, int blocks>
struct WarpgroupTile : Tile<E, m, n, 16, n, stages, blocks> {
  static constexpr bool warpgroups = true;
};

template <class E>
inline constexpr Unit unit_of = std::is_same_v<E, float> ? Unit::tf32 : Unit::bf16;

/// Bytes that blocks copy to shared memory for so many operations, by the tile T.
template <class T>
constexpr double copied_bytes(double flops) {
  return flops / (2.0 * T::m * T::n * T::step_k) * T::stage_bytes;
}

/// A warp's sums: those of 16 rows and 8 columns each, as multiply_add has them.
template <class T>
using Sums = float[T::fragments_m][2 * T::fragments_n][4];

/// Division by a number that the host knows, as a multiplication; exact for 0 <= x < 2^31.
class FastDivisor {
 public:
  FastDivisor() = default;
  /// 2^(log2 - 1) < divisor <= 2^log2; the factor is 2^(31 + log2) / divisor, rounded up.
  explicit FastDivisor(std::int64_t divisor) {
    int log2 = 0;
    while ((std::int64_t{1} << log2) < divisor) ++log2;
    const auto d = static_cast<std::uint64_t>(divisor);
    factor_ = static_cast<std::uint32_t>(((std::uint64_t{1} << (31 + log2)) + d - 1) / d);
    shift_ = 31 + log2;
  }
  __device__ int operator()(int x) const {
    return static_cast<int>((static_cast<std::uint64_t>(static_cast<unsigned>(x)) * factor_) >>
                            shift_);
  }

 private:
  std::uint32_t factor_ = 0;
  int shift_ = 0;
};

/// The convolution that a kernel computes: sizes of the image that it gathers from [N, H, W, C],
/// and of the pixels that are the product's rows [N, height, width].
struct Problem {
  int H, W, C, O;
  int height, width;
  int pixels;  // N height width
  int kernel, stride, padding;
  FastDivisor by_image, by_width;  // by height width, and by width
};

/// A pixel among the product's rows.
struct Pixel {
  int n, row, column;
};

__device__ inline Pixel pixel_of(const Problem& p, int number) {
  const int n = p.by_image(number), inside = number - n * (p.height * p.width);
  const int row = p.by_width(inside);
  return {n, row, inside - row * p.width};
}

/// Whether 0 <= x < size
__device__ inline bool inside(int x, int size) {
  return static_cast<unsigned>(x) < static_cast<unsigned>(size);
}

/// This thread's lane in its warp, and its warp's first row and column in the block's tile.
template <class T>
struct WarpPlace {
  int lane, row, column;
  __device__ WarpPlace()
      : lane(static_cast<int>(threadIdx.x) % 32),
        row(static_cast<int>(threadIdx.x) / 32 % T::warps_m * T::warp_m),
        column(static_cast<int>(threadIdx.x) / 32 / T::warps_m * T::warp_n) {}
};

/// What a thread copies of a stage: chunk `chunk` of row `row`, and of each copied_rows-th row from
/// there on; these are multiples of 8 rows apart, so that their place is the same.
struct CopyPlace {
  int chunk, row;
  __device__ CopyPlace()
      : chunk(static_cast<int>(threadIdx.x) % row_chunks),
        row(static_cast<int>(threadIdx.x) / row_chunks) {}
  __device__ std::uint32_t offset(int swizzle) const {
    return static_cast<std::uint32_t>(row * row_bytes + (chunk ^ swizzle) * chunk_bytes);
  }
};

/// The launch's shared memory.
template <class T>
__device__ SharedAddress stages_of_block() {
  static_assert(T::warpgroups || T::shared_bytes <= 99 * 1024, "8.6 gives a block no more");
  const auto memory = dynamic_shared<Vector<std::uint32_t, 4>>(T::shared_bytes / chunk_bytes);
  const SharedAddress stages(&memory[0]);
  // Warpgroups take the swizzle from the address. Without static shared memory this is met.
  if (T::warpgroups && stages.value % 1024 != 0) __trap();
  return stages;
}

/// The stage behind one, both as bytes from the first, in a ring.
template <class T>
__device__ std::uint32_t next_stage(std::uint32_t stage) {
  constexpr std::uint32_t size = T::stage_bytes, last = (T::stages - 1) * size;
  return stage == last ? 0 : stage + size;
}

/// Fills `steps` stages in turn. copies.start(stage, quarter) starts a quarter of the copies of a
/// stage; copies.advance() goes on to those of the next one.
template <class T, class Copies>
class Filler {
  static_assert(T::step_k % T::copied_rows == 0 && T::copied_rows % 8 == 0);

 public:
  __device__ Filler(int steps, Copies& copies) : steps_(steps), copies_(copies) {}
  /// Starts a quarter of the stage's copies.
  __device__ __forceinline__ void start(int quarter) const {
    if (filled_ < steps_) copies_.start(stage_, quarter);
  }
  /// All of its copies are started.
  __device__ __forceinline__ void end() {
    commit_copies();
    copies_.advance();
    ++filled_;
    stage_ = next_stage<T>(stage_);
  }
  __device__ __forceinline__ void fill() {
#pragma unroll
    for (int quarter = 0; quarter < slices; ++quarter) start(quarter);
    end();
  }

 private:
  const int steps_;
  Copies& copies_;
  std::uint32_t stage_ = 0;
  int filled_ = 0;
};

/// sums += the product of a warp's fragments of a slice.
template <class T>
__device__ __forceinline__ void multiply_fragments(const std::uint32_t (&a)[T::fragments_m][4],
                                                   const std::uint32_t (&b)[T::fragments_n][4],
                                                   Sums<T>& sums) {
#pragma unroll
  for (int i = 0; i < T::fragments_m; ++i) {
#pragma unroll
    for (int j = 0; j < T::fragments_n; ++j) {
      using E = typename T::Element;
      multiply_add<E>(sums[i][2 * j], a[i], b[j][0], b[j][1]);
      multiply_add<E>(sums[i][2 * j + 1], a[i], b[j][2], b[j][3]);
    }
  }
}

/// sums += the products of `steps` stages, by warps. fragments.load(a, b, stage, slice) loads a
/// slice of a stage. Copies are spread over the slices, so that they do not hold up the tensor
/// cores.
template <class T, class Copies, class Fragments>
__device__ __forceinline__ void multiply(int steps, Copies& copies, const Fragments& fragments,
                                         Sums<T>& sums) {
  std::uint32_t a[2][T::fragments_m][4], b[2][T::fragments_n][4];  // of this slice and the next
  std::uint32_t stage = 0;
  Filler<T, Copies> filler(steps, copies);
#pragma unroll
  for (int i = 0; i < T::stages - 1; ++i) filler.fill();
  wait_for_copies<T::stages - 2>();
  __syncthreads();
  if (steps > 0) fragments.load(a[0], b[0], stage, 0);
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
#pragma unroll
    for (int slice = 0; slice < slices; ++slice) {
      const int now = slice % 2;
      if (slice + 1 < slices) {
        fragments.load(a[1 - now], b[1 - now], stage, slice + 1);
        filler.start(slice);
      } else {
        filler.start(slice);
        filler.end();
        // The next stage has arrived, and all warps have read this one, which is filled next.
        wait_for_copies<T::stages - 2>();
        __syncthreads();
        stage = next_stage<T>(stage);
        if (step + 1 < steps) fragments.load(a[1 - now], b[1 - now], stage, 0);
      }
      multiply_fragments<T>(a[now], b[now], sums);
    }
  }
  wait_for_copies<0>();  // so that no group is left open
  __syncthreads();       // shared memory may be used again
}

/// Starts sums += the product of a stage, as a group of a warpgroup's products. Its rows run along
/// k, or, `transposed` (bfloat16 only), are one k: panels of 64 x 64. In either case a warpgroup
/// has 64 rows of 128 bytes of the first matrix.
template <class T, bool transposed>
__device__ __forceinline__ void multiply_stage(SharedAddress stages, std::uint32_t stage,
                                               Sums<T>& sums) {
  constexpr std::uint32_t group_bytes = 8 * row_bytes, panel_bytes = 64 * row_bytes;
  constexpr std::uint32_t next_slice = transposed ? T::slice_k * row_bytes : slice_bytes;
  const MatrixDescriptor a =
      MatrixDescriptor(stages + warpgroup_index() * panel_bytes, group_bytes, panel_bytes) + stage;
  const MatrixDescriptor b =
      MatrixDescriptor(stages + T::m * row_bytes, group_bytes, panel_bytes) + stage;
  begin_products();
#pragma unroll
  for (int slice = 0; slice < slices; ++slice) {
    const std::uint32_t further = static_cast<std::uint32_t>(slice) * next_slice;
    multiply_add<typename T::Element, transposed>(sums[0], a + further, b + further);
  }
  commit_products();
}

/// sums += the products of `steps` stages, by warpgroups. A stage is filled again two steps after
/// its products were started, one after they were waited for.
template <class T, bool transposed, class Copies>
__device__ __forceinline__ void multiply_by_warpgroups(int steps, Copies& copies,
                                                       SharedAddress stages, Sums<T>& sums) {
  std::uint32_t stage = 0;
  Filler<T, Copies> filler(steps, copies);
#pragma unroll
  for (int i = 0; i < T::stages - 2; ++i) filler.fill();
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    wait_for_copies<T::stages - 3>();
    publish_copies();
    __syncthreads();
    multiply_stage<T, transposed>(stages, stage, sums);
    filler.fill();
    wait_for_products<1>();
    stage = next_stage<T>(stage);
  }
  wait_for_products<0>();
  wait_for_copies<0>();
  __syncthreads();
}

/// The problem of a forward convolution.
inline Problem problem_of(const Conv2dGeometry& g) {
  return {.H = static_cast<int>(g.H),
          .W = static_cast<int>(g.W),
          .C = static_cast<int>(g.C),
          .O = static_cast<int>(g.O),
          .height = static_cast<int>(g.out_height),
          .width = static_cast<int>(g.out_width),
          .pixels = static_cast<int>(g.N * g.out_height * g.out_width),
          .kernel = static_cast<int>(g.kernel.height),
          .stride = static_cast<int>(g.stride.height),
          .padding = static_cast<int>(g.padding.height),
          .by_image = FastDivisor(g.out_height * g.out_width),
          .by_width = FastDivisor(g.out_width)};
}

}  // namespace gradus::cuda::implicit_gemm
