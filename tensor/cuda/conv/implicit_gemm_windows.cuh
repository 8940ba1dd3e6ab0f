// 3x3 convolutions with stride 1 by warpgroups, that copy a pixel 1.6 times instead of 9.
// Neighbouring pixels share most of what their taps read: a block that copies each tap's rows by
// themselves (implicit_gemm_patches.cuh) copies each pixel 9 times, and waits for the second-level
// cache.
//
// Here a warpgroup's 64 rows are a square of 8 x 8 pixels, and its window, these and the border
// around them, 10 x 10 pixels, lies in shared memory, a pixel's 128 bytes of channels to a row. The
// 64 rows that a tap multiplies are the window's, but for the tap's shift: the tensor cores are
// told where the first one is, and that a row of the square is 10 rows of memory below the last.
//
//   window   b b b b b b b b b b        tap (0, 0) reads from here       b  border
//            b . . . . . . . . b   <-   tap (1, 1) from the first .      .  the square
//            b . . . . . . . . b        tap (2, 1) from the one below it
//            ...
//
// The swizzle is the address's (warpgroup.h), so that a matrix may begin at any row.
//
// Windows are of T::step_k channels; there are two, of which one is filled while the other is
// multiplied. Weights come through a ring of stages, one tap's of these channels each.
#pragma once

#include "tensor/cuda/conv/implicit_gemm_rows.cuh"

namespace gradus::cuda::implicit_gemm {

inline constexpr int square_side = 8, window_side = square_side + 2;
inline constexpr int square_pixels = square_side * square_side;  // the rows of a warpgroup
inline constexpr int window_pixels = window_side * window_side;
inline constexpr int window_bytes = window_pixels * row_bytes;
inline constexpr int window_taps = 9;

/// The problem of a convolution whose product's rows are squares instead of pixels.
inline Problem problem_of_squares(const Conv2dGeometry& g) {
  Conv2dGeometry squares = g;
  squares.out_height = g.H / square_side;
  squares.out_width = g.W / square_side;
  return problem_of(squares);
}

/// As WarpgroupTile, with two buffers of m / 64 windows before the stages.
template <class E, int m, int n, int stages, int blocks>
struct WindowTile : WarpgroupTile<E, m, n, stages, blocks> {
  static constexpr int windows = m / square_pixels;
  static constexpr int buffer_bytes = windows * window_bytes;
  static constexpr int stages_begin = 2 * buffer_bytes;
  static constexpr int stage_bytes = n * row_bytes;
  static constexpr int shared_bytes = stages_begin + stages * stage_bytes;
  static_assert(buffer_bytes % 1024 == 0);
};

/// Fills windows and the stages of weights [O, 3, 3, C] behind them. Of the problem, the rows are
/// squares instead of pixels.
template <class T>
class WindowCopies {
  using E = typename T::Element;

 public:
  __device__ WindowCopies(const Problem& p, const E* input, const E* weight, int first_square,
                          int first_column, SharedAddress memory)
      : input_(input), C_(p.C), chunks_(p.C / T::step_k) {
    const CopyPlace place;
    to_ = memory + place.offset(place.row % 8);
    weight_ = weight + static_cast<std::int64_t>(first_column + place.row) * window_taps * p.C +
              place.chunk * T::chunk_size;
#pragma unroll
    for (int i = 0; i < pixels_each; ++i) {
      const int row = place.row + i * T::copied_rows;
      const int number = first_square + row / window_pixels, pixel = row % window_pixels;
      const Pixel square = pixel_of(p, min(number, p.pixels - 1));
      const int h = square.row * square_side + pixel / window_side - 1;
      const int w = square.column * square_side + pixel % window_side - 1;
      offset_[i] = ((square.n * p.H + h) * p.W + w) * p.C + place.chunk * T::chunk_size;
      const bool exists = number < p.pixels && inside(h, p.H) && inside(w, p.W);
      valid_ |= (exists ? 1u : 0u) << i;
    }
    last_ = place.row + (pixels_each - 1) * T::copied_rows < T::windows * window_pixels;
  }

  /// Starts the copies of the first windows, and of the first stages, each a group.
  __device__ __forceinline__ void begin() {
#pragma unroll
    for (int i = 0; i < pixels_each; ++i) start_pixel(i, 0, 0);
#pragma unroll
    for (int tap = 0; tap < ahead; ++tap) {
      start_weights(tap, 0);
      commit_copies();
    }
  }

  /// Starts, while `tap` of `chunk` is multiplied, the copies of the stage that comes `ahead` of
  /// it, and a part of the next window, whose buffer is free once the products of the chunk before
  /// are over.
  __device__ __forceinline__ void fill(int tap, int chunk) {
    const int next_tap = (tap + ahead) % window_taps;
    const int next_chunk = chunk + (tap + ahead) / window_taps;
    if (next_chunk < chunks_) start_weights(next_tap, next_chunk);
    constexpr int first_tap = 1, taps = window_taps - ahead;
    constexpr int each = (pixels_each + taps - 1) / taps;
    if (chunk + 1 < chunks_) {
      const int buffer = (chunk + 1) % 2 * T::buffer_bytes;
#pragma unroll
      for (int i = 0; i < pixels_each; ++i) {
        if (i / each == tap - first_tap) start_pixel(i, chunk + 1, buffer);
      }
    }
    commit_copies();
  }

 private:
  static constexpr int ahead = T::stages - 2;
  static constexpr int pixels_each =
      (T::windows * window_pixels + T::copied_rows - 1) / T::copied_rows;
  static constexpr int weights_each = T::n / T::copied_rows;
  static constexpr std::uint32_t copied_bytes = T::copied_rows * row_bytes;
  static_assert(T::n % T::copied_rows == 0 && T::copied_rows % 8 == 0 && pixels_each <= 32);

  __device__ __forceinline__ void start_pixel(int i, int chunk, int buffer) const {
    if (i == pixels_each - 1 && !last_) return;
    const bool valid = valid_ >> i & 1;
    copy_async(to_ + static_cast<std::uint32_t>(buffer) + i * copied_bytes,
               input_ + (valid ? offset_[i] + chunk * T::step_k : 0), valid);
  }

  __device__ __forceinline__ void start_weights(int tap, int chunk) {
    const E* const from = weight_ + tap * C_ + chunk * T::step_k;
#pragma unroll
    for (int i = 0; i < weights_each; ++i) {
      copy_async(to_ + T::stages_begin + stage_ + i * copied_bytes,
                 from + i * T::copied_rows * window_taps * C_, true);
    }
    stage_ = next_stage<T>(stage_);
  }

  const E* input_;
  const E* weight_;  // the thread's chunk of the tile's first row
  const int C_, chunks_;
  SharedAddress to_;
  int offset_[pixels_each];  // of the first channels, of a pixel that may be outside
  std::uint32_t valid_ = 0;  // a bit a pixel
  bool last_;                // whether the thread's last pixel is one of a window
  std::uint32_t stage_ = 0;  // that is filled next
};

/// sums += the products of `chunks` windows. A stage is filled again two steps after its products
/// were started, one after they were waited for.
template <class T>
__device__ __forceinline__ void multiply_windows(int chunks, WindowCopies<T>& copies,
                                                 SharedAddress memory, Sums<T>& sums) {
  const MatrixDescriptor windows(memory + warpgroup_index() * window_bytes, window_side * row_bytes,
                                 0);
  const MatrixDescriptor weights(memory + T::stages_begin, 8 * row_bytes, 0);
  std::uint32_t stage = 0, buffer = 0;
  copies.begin();
#pragma unroll 1
  for (int chunk = 0; chunk < chunks; ++chunk) {
#pragma unroll
    for (int tap = 0; tap < window_taps; ++tap) {
      wait_for_copies<T::stages - 3>();
      publish_copies();
      __syncthreads();
      const std::uint32_t shift = (tap / 3 * window_side + tap % 3) * row_bytes;
      const MatrixDescriptor a = windows + (buffer + shift), b = weights + stage;
      begin_products();
#pragma unroll
      for (int slice = 0; slice < slices; ++slice) {
        const std::uint32_t further = static_cast<std::uint32_t>(slice) * slice_bytes;
        multiply_add<typename T::Element, false>(sums[0], a + further, b + further);
      }
      commit_products();
      copies.fill(tap, chunk);
      wait_for_products<1>();
      stage = next_stage<T>(stage);
    }
    buffer = T::buffer_bytes - buffer;
  }
  wait_for_products<0>();
  wait_for_copies<0>();
  __syncthreads();
}

}  // namespace gradus::cuda::implicit_gemm
